#include "net/shed.h"

#include <string.h>

#define PROBES 8u /* places that a tenant may have */
#define GATE_SLACK_PERCENT                                                                         \
    4u /* above the share, so that what is left for user space to shed is little */
#define GATE_STAY_PERCENT 6u /* a threshold that is off by less stays: a new one costs more */
#define LONG_PERCENT 50u     /* of the buffers are full: then it is an overload */
#define FILL_PERCENT 25u     /* as long a queue is aimed at */
#define CREDIT_LOOKS 2u
#define CREDIT_KEPT 128
#define SECOND 1000000000u
#define AVERAGE_NS 80000000u /* what is measured is averaged over so long */
#define REST_GROWTH 256u     /* a part of so much is added to the capacity in a look, */
#define IDLE_GROWTH 8u       /* or of so much */
#define NO_LIMIT INT64_MAX
#define MOST_CREDIT (INT64_MAX >> 16) /* of one share: no sum of all is more than NO_LIMIT */
/* Reading a check and leaving it out costs so small a part of answering it. */
#define READ_PART 4u
_Static_assert(CREDIT_KEPT >= METE_WIRE_MAX_CHECKS, "a datagram of any size passes at last");

static uint64_t scale(uint64_t value, uint64_t by, uint64_t of)
{
    unsigned __int128 scaled = (unsigned __int128)value * by / of;
    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

void shed_init(struct shed *shed, uint64_t now_ns)
{
    memset(shed, 0, sizeof(*shed));
    shed->empty_at_ns = now_ns;
    shed->level = shed->forgery_level = UINT64_MAX;
    shed->tenants[SHED_TENANTS].threshold = GATE_ALL;
}

/* ---- tenants ---- */

/* Of one share. */
static int64_t credit_for(const struct shed *shed, uint64_t span_ns)
{
    if (shed->level == UINT64_MAX)
        return NO_LIMIT;
    uint64_t credit = scale(shed->level, span_ns, SECOND);
    return credit < MOST_CREDIT ? (int64_t)credit : MOST_CREDIT;
}

static struct shed_tenant *find(struct shed *shed, uint32_t id)
{
    struct shed_tenant *room = NULL;
    uint32_t at = id * 2654435769u >> 24; /* Knuth's multiplier; 256 places */
    for (unsigned i = 0; i < PROBES; i++) {
        struct shed_tenant *tenant = &shed->tenants[(at + i) % SHED_TENANTS];
        if (tenant->id == id)
            return tenant;
        if (!tenant->id && !room)
            room = tenant;
    }
    if (!room)
        return &shed->tenants[SHED_TENANTS];
    *room = (struct shed_tenant){.id = id, .threshold = GATE_ALL};
    room->credit = credit_for(shed, SHED_LOOK_NS);
    return room;
}

static uint64_t weight_of(const struct shed *shed, const struct shed_tenant *tenant)
{
    return tenant == &shed->tenants[SHED_TENANTS] ? SHED_TENANTS : 1;
}

static bool is_used(const struct shed *shed, const struct shed_tenant *tenant)
{
    return tenant->id || tenant == &shed->tenants[SHED_TENANTS];
}

/* ---- each datagram ---- */

static bool is_old(const struct shed *shed, const struct shed_question *question)
{
    uint32_t sent_ms = question->header->clock_ms;
    if (shed->doubt_ns <= shed->options.max_age_ns || !sent_ms || !question->has_good_clock)
        return false;
    int32_t age_ms = (int32_t)(question->clock_ms - sent_ms);
    return age_ms > 0 && (uint64_t)age_ms * 1000000 > shed->options.max_age_ns;
}

/* A hundredth of a second's answers at once. */
static bool may_answer(struct shed *shed, uint64_t now_ns)
{
    uint64_t per_second = shed->options.answers_per_second;
    if (!per_second)
        return false;
    uint64_t every_ns = SECOND / per_second;
    uint64_t at_ns = shed->answers_until_ns > now_ns ? shed->answers_until_ns : now_ns;
    if (at_ns - now_ns > 10000000u)
        return false;
    shed->answers_until_ns = at_ns + every_ns;
    return true;
}

enum shed_fate shed_judge(struct shed *shed, const struct shed_question *question, uint64_t now_ns)
{
    const struct mete_header *header = question->header;
    bool is_release = header->type == METE_RELEASE;
    if (!is_release && is_old(shed, question))
        return SHED_OLD;
    if (!shed->is_on)
        return SHED_NOT;
    struct shed_tenant *tenant = find(shed, header->tenant);
    tenant->row = question->row;
    tenant->read += header->n;
    tenant->released += is_release ? header->n : 0;
    if (tenant->credit < header->n && !is_release)
        return may_answer(shed, now_ns) ? SHED_ANSWER : SHED_SHARE;
    tenant->passed += header->n;
    if (tenant->credit != NO_LIMIT)
        tenant->credit -= header->n;
    return SHED_NOT;
}

void shed_take_forged(struct shed *shed, const struct mete_header *header)
{
    if (!shed->is_on)
        return;
    struct shed_tenant *tenant = find(shed, header->tenant);
    tenant->forged += header->n;
    if (tenant->credit != NO_LIMIT)
        tenant->credit += header->n;
}

/* ---- each look ---- */

uint64_t shed_count_kept(const struct shed_tenant *tenant)
{
    if (tenant->threshold == GATE_ALL)
        return 0;
    uint64_t came = tenant->read - tenant->released; /* of what does not pass anyway */
    return scale(came, 1ull << 32, (uint64_t)tenant->threshold + 1) - came;
}

/* Moving averages are by time, not by looks: a look that came late, because the worker had not the
 * core, counts for as long as it took. */
static uint64_t average(uint64_t rate, uint64_t amount, uint64_t elapsed_ns, uint64_t over_ns)
{
    unsigned __int128 sum = (unsigned __int128)rate * over_ns + (unsigned __int128)amount * SECOND;
    return (uint64_t)(sum / (over_ns + elapsed_ns));
}

/* Without a rest the time went into what was judged and into what was read and left out or not
 * believed. After rests there may be more to be had than was given out, and much more if all turns
 * were rests: what was measured amid a stall would else keep itself small by the gate. */
static void measure_capacity(struct shed *shed, uint32_t fill_percent, uint64_t elapsed_ns)
{
    uint64_t read = 0, passed = 0;
    for (unsigned i = 0; i <= SHED_TENANTS; i++) {
        read += shed->tenants[i].read;
        passed += shed->tenants[i].passed - shed->tenants[i].forged;
    }
    uint64_t done = passed + (read - passed) / READ_PART;
    uint64_t over_ns = shed->capacity ? AVERAGE_NS : 0;
    bool is_idle = shed->rests == shed->turns && fill_percent < FILL_PERCENT / 4;
    uint64_t now = average(shed->capacity, done, elapsed_ns, over_ns);
    uint64_t more = shed->capacity;
    if (shed->level != UINT64_MAX)
        more += is_idle ? more / IDLE_GROWTH + 1 : more / REST_GROWTH;
    shed->capacity = shed->rests && now < more ? more : now;
}

/* What is given out: more than capacity while the queue is short, less while it is long. */
static uint64_t give_out(const struct shed *shed, uint32_t fill_percent)
{
    uint32_t fill = fill_percent < 100 ? fill_percent : 100;
    return scale(shed->capacity, 1000 + FILL_PERCENT * 5 - fill * 5, 1000);
}

/* Of what was not judged as much is taken for forged as of what was, now or before. */
static uint64_t forged_of(const struct shed_tenant *tenant, uint64_t asked)
{
    if (tenant->passed)
        return scale(asked, tenant->forged, tenant->passed);
    uint64_t before = tenant->offered + tenant->forgeries;
    return before ? scale(asked, tenant->forgeries, before) : 0;
}

static void measure_offers(struct shed *shed, uint64_t elapsed_ns)
{
    for (unsigned i = 0; i <= SHED_TENANTS; i++) {
        struct shed_tenant *tenant = &shed->tenants[i];
        if (!is_used(shed, tenant))
            continue;
        uint64_t asked = tenant->read + shed_count_kept(tenant);
        uint64_t forged = forged_of(tenant, asked);
        bool is_gone = !tenant->read && tenant->offered + tenant->forgeries < 100;
        uint64_t over_ns = tenant->offered + tenant->forgeries ? AVERAGE_NS : 0;
        tenant->offered = average(tenant->offered, asked - forged, elapsed_ns, over_ns);
        tenant->forgeries = average(tenant->forgeries, forged, elapsed_ns, over_ns);
        tenant->read = tenant->released = tenant->passed = tenant->forged = 0;
        if (is_gone && tenant->id)
            tenant->id = 0;
    }
}

enum demand { DEMAND_OFFERED, DEMAND_FORGERIES };

static uint64_t demand_of(const struct shed_tenant *tenant, enum demand demand)
{
    return demand == DEMAND_OFFERED ? tenant->offered : tenant->forgeries;
}

/* The max-min fair level: each round those who ask for less than the level leave what they do not
 * need to the others, until nobody new is among them. `more` is what one more claimant asks for. */
static uint64_t find_level(const struct shed *shed, enum demand demand, uint64_t more,
                           uint64_t capacity)
{
    uint64_t level = 0;
    while (capacity) {
        uint64_t left = capacity, weight = more > level;
        if (more <= level)
            left -= more < left ? more : left;
        for (unsigned i = 0; i <= SHED_TENANTS; i++) {
            const struct shed_tenant *tenant = &shed->tenants[i];
            uint64_t own = weight_of(shed, tenant), asked = demand_of(tenant, demand);
            if (!is_used(shed, tenant))
                continue;
            if (asked <= level * own)
                left -= asked < left ? asked : left;
            else
                weight += own;
        }
        if (!weight)
            return UINT64_MAX;
        if (left / weight <= level)
            return level;
        level = left / weight;
    }
    return UINT64_MAX; /* not known yet */
}

/* The shares of the tenants, and of forgeries, which together have one as large. */
static void find_levels(struct shed *shed, uint64_t capacity)
{
    uint64_t forgeries = 0;
    for (unsigned i = 0; i <= SHED_TENANTS; i++)
        forgeries += shed->tenants[i].forgeries;
    forgeries /= READ_PART;
    shed->level = find_level(shed, DEMAND_OFFERED, forgeries, capacity);
    shed->forgery_level = shed->level >= forgeries
                              ? UINT64_MAX
                              : find_level(shed, DEMAND_FORGERIES, 0, shed->level * READ_PART);
}

/* What was not used is kept: up to a datagram's worth, so that shares smaller than that are had,
 * and the share of CREDIT_LOOKS, because what a tenant asks for comes in lumps where the worker
 * waits for its core, and what it did not ask for in one look it may in the next. */
static void give_credit(struct shed *shed, uint64_t elapsed_ns)
{
    uint64_t span_ns = elapsed_ns < 4 * SHED_LOOK_NS ? elapsed_ns : 4 * SHED_LOOK_NS;
    int64_t share = credit_for(shed, span_ns);
    int64_t most = share == NO_LIMIT ? 0 : credit_for(shed, CREDIT_LOOKS * SHED_LOOK_NS);
    for (unsigned i = 0; i <= SHED_TENANTS; i++) {
        struct shed_tenant *tenant = &shed->tenants[i];
        int64_t weight = (int64_t)weight_of(shed, tenant);
        int64_t keeps = most * weight + CREDIT_KEPT;
        int64_t kept = tenant->credit < keeps ? tenant->credit : keeps;
        if (tenant->credit == NO_LIMIT || tenant->credit < 0)
            kept = 0;
        tenant->credit = share == NO_LIMIT ? NO_LIMIT : share * weight + kept;
    }
}

/* So many of 2^32 are wanted. */
static uint32_t part_of(uint64_t wanted, uint64_t offered)
{
    return offered <= wanted ? GATE_ALL : (uint32_t)scale(wanted, UINT32_MAX, offered);
}

/* How many of 2^32 of the tenant's datagrams ought to pass. */
static uint32_t wanted_threshold(const struct shed *shed, const struct shed_tenant *tenant)
{
    uint64_t most =
        shed->level == UINT64_MAX ? UINT64_MAX : scale(shed->level, 100 + GATE_SLACK_PERCENT, 100);
    uint32_t own = part_of(most, tenant->offered);
    uint32_t forged = part_of(shed->forgery_level, tenant->forgeries);
    return own < forged ? own : forged;
}

static bool is_near(uint32_t a, uint32_t b)
{
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return (a == GATE_ALL) == (b == GATE_ALL) && high * 100 <= low * (100 + GATE_STAY_PERCENT);
}

/* The tenant with the most above its share among those that do not stand in the gate yet. */
static const struct shed_tenant *next_heaviest(const struct shed *shed, const struct gate *gate)
{
    const struct shed_tenant *heaviest = NULL;
    for (unsigned i = 0; i < SHED_TENANTS; i++) {
        const struct shed_tenant *tenant = &shed->tenants[i];
        bool is_listed = !tenant->id || wanted_threshold(shed, tenant) == GATE_ALL;
        for (uint32_t j = 0; j < gate->count && !is_listed; j++)
            is_listed = gate->tenants[j].id == tenant->id;
        uint64_t weight = tenant->offered + tenant->forgeries;
        if (!is_listed && (!heaviest || weight > heaviest->offered + heaviest->forgeries))
            heaviest = tenant;
    }
    return heaviest;
}

static uint32_t threshold_of(const struct gate *gate, uint32_t id)
{
    for (uint32_t i = 0; i < gate->count; i++)
        if (gate->tenants[i].id == id)
            return gate->tenants[i].threshold;
    return GATE_ALL;
}

/* True: it is not what is set any more. */
static bool plan_gate(struct shed *shed)
{
    struct gate gate = {.looks_into_joined = shed->has_joined};
    bool differs = gate.looks_into_joined != shed->gate.looks_into_joined && shed->gate.count;
    while (gate.count < GATE_TENANTS) {
        const struct shed_tenant *tenant = next_heaviest(shed, &gate);
        if (!tenant)
            break;
        gate.tenants[gate.count++] =
            (struct gate_tenant){.id = tenant->id, .threshold = wanted_threshold(shed, tenant)};
    }
    for (uint32_t i = 0; i < gate.count; i++)
        differs |=
            !is_near(gate.tenants[i].threshold, threshold_of(&shed->gate, gate.tenants[i].id));
    for (uint32_t i = 0; i < shed->gate.count; i++)
        differs |= threshold_of(&gate, shed->gate.tenants[i].id) == GATE_ALL;
    if (differs)
        shed->gate = gate;
    return differs;
}

void shed_gate_is_set(struct shed *shed, uint64_t now_ns)
{
    shed->gate_set_ns = now_ns;
    for (unsigned i = 0; i < SHED_TENANTS; i++)
        if (shed->tenants[i].id)
            shed->tenants[i].threshold = threshold_of(&shed->gate, shed->tenants[i].id);
}

static void begin(struct shed *shed, uint64_t now_ns)
{
    memset(shed->tenants, 0, sizeof(shed->tenants));
    shed->tenants[SHED_TENANTS].threshold = GATE_ALL;
    shed->is_on = true;
    shed->long_looks = 0;
    shed->level = shed->forgery_level = UINT64_MAX;
    shed->capacity = 0;
    shed->calm_since_ns = now_ns;
    shed->has_joined = false;
    give_credit(shed, SHED_LOOK_NS);
}

static bool end(struct shed *shed)
{
    bool had_gate = shed->gate.count;
    shed->is_on = false;
    shed->gate.count = 0;
    return had_gate;
}

bool shed_take_look(struct shed *shed, const struct shed_look *look)
{
    uint64_t elapsed_ns = look->now_ns - shed->looked_at_ns;
    bool must_set = false;
    if (!shed->is_on) {
        bool is_long = look->has_lost || look->fill_percent >= LONG_PERCENT;
        bool goes_on = is_long && !shed->rests && shed->doubt_ns >= shed->options.budget_ns;
        shed->long_looks = goes_on ? shed->long_looks + 1 : 0;
        if (shed->long_looks >= SHED_LOOKS)
            begin(shed, look->now_ns);
    } else if (elapsed_ns) {
        measure_capacity(shed, look->fill_percent, elapsed_ns);
        measure_offers(shed, elapsed_ns);
        find_levels(shed, give_out(shed, look->fill_percent));
        give_credit(shed, elapsed_ns);
        if (shed->level != UINT64_MAX || !shed->rests)
            shed->calm_since_ns = look->now_ns;
        if (look->now_ns - shed->calm_since_ns >= SHED_CALM_NS)
            must_set = end(shed);
        else if (look->now_ns - shed->gate_set_ns >= SHED_GATE_NS)
            must_set = plan_gate(shed);
    }
    shed->looked_at_ns = look->now_ns;
    shed->next_look_ns = look->now_ns + SHED_LOOK_NS;
    shed->rests = shed->turns = 0;
    return must_set;
}
