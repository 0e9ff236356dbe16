/* The repeat set against a slow model that knows everything, on random datagrams over hours, clocks
 * that wrap, workers whose clocks differ, full buckets, claims left open for a while.
 *
 *   METE_SEED (1), METE_COUNT (operations, 300000)
 *
 * The model keeps times in 64 bits, and four places per bucket as plain fields. Beside it stands
 * what must hold whatever the places do: all charges ever made, and when. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/repeat.c"
#include "lib/random.h"

#define BUCKETS 3u
#define RECENT 64u /* datagrams that may come again */
#define OPEN 3u    /* claims left open at a time */
#define BATCH 70u  /* at most; more than two chunks of a batch */
#define HOUR_MS (3600ll * 1000)

struct datagram {
    uint64_t tag;
    int64_t sent_ms; /* 0: no stamp */
    uint32_t bit_count;
    uint64_t bits[REPEAT_WORDS];
    bool is_charged;
    int64_t charged_ms; /* the last time */
};

struct place {
    uint64_t tag; /* mixed */
    bool is_open, is_done;
    int64_t arrival_ms;
    int64_t gave_way_ms; /* the record before it */
    int64_t forgot_ms;   /* what is left of that when the place is closed */
    uint64_t withdrawn;  /* world.chunk in which it was confirmed to be none */
};

struct pending { /* a claim left open */
    struct repeat_claim claim;
    struct datagram *datagram;
    struct place *place;
    int64_t now_ms;
};

static struct {
    struct repeat_set set;
    struct repeat_bucket memory[BUCKETS];
    struct place places[BUCKETS][RECORD_PLACES];
    struct datagram recent[RECENT];
    struct pending open[OPEN + BATCH];
    unsigned open_count;
    int64_t now_ms;
    uint64_t random;
    uint64_t seed, step, chunk;
    uint64_t results[4];
    uint64_t cursor;
} world;

static uint64_t next_random(void)
{
    return random_next(&world.random);
}

static int64_t below(int64_t bound)
{
    return (int64_t)(next_random() % (uint64_t)bound);
}

static void fail(const char *what, long long expected, long long got)
{
    printf("prop_repeat: seed %" PRIu64 ", step %" PRIu64 ": %s: expected %lld, got %lld\n",
           world.seed, world.step, what, expected, got);
    exit(1);
}

static struct place *places_of(uint64_t mixed)
{
    return world.places[look_bucket(&world.set, mixed) - world.set.buckets];
}

/* ---- the model ---- */

static int64_t quantum_ms(void)
{
    return 1ll << world.set.gap_shift;
}

/* The oldest that is not open; NULL: all are. */
static struct place *model_choose(struct place *places)
{
    struct place *oldest = NULL;

    for (unsigned i = 0; i < RECORD_PLACES; i++)
        if (!places[i].is_open && (!oldest || places[i].arrival_ms < oldest->arrival_ms))
            oldest = &places[i];
    return oldest;
}

static void model_take(struct place *place, uint64_t tag, int64_t now_ms)
{
    int64_t forgot_ms = place->arrival_ms;
    int64_t arrival_ms = now_ms > forgot_ms ? now_ms : forgot_ms;
    int64_t gap = (arrival_ms - forgot_ms) / quantum_ms(); /* rounded down, and at most so much */

    if (gap > (int64_t)RECORD_GAP_MAX)
        gap = RECORD_GAP_MAX;
    *place = (struct place){.tag = tag,
                            .is_open = true,
                            .arrival_ms = arrival_ms,
                            .gave_way_ms = forgot_ms,
                            .forgot_ms = arrival_ms - gap * quantum_ms()};
}

static int64_t horizon_of(const struct datagram *datagram, int64_t now_ms)
{
    return datagram->sent_ms ? datagram->sent_ms - world.set.ahead_ms
                             : now_ms - world.set.window_ms;
}

static bool model_is_fresh(const struct datagram *datagram, int64_t now_ms)
{
    return !datagram->sent_ms || (datagram->sent_ms >= now_ms - world.set.window_ms &&
                                  datagram->sent_ms <= now_ms + world.set.ahead_ms);
}

static struct place *model_find(uint64_t mixed, int64_t horizon_ms)
{
    struct place *places = places_of(mixed);

    for (unsigned i = 0; i < RECORD_PLACES; i++)
        if (places[i].tag == mixed &&
            (places[i].is_open || (places[i].is_done && places[i].arrival_ms >= horizon_ms)))
            return &places[i];
    return NULL;
}

static enum repeat_result model_claim(const struct datagram *datagram, int64_t now_ms,
                                      struct place **ret_place)
{
    uint64_t mixed = look_mix(&world.set, datagram->tag);
    int64_t horizon_ms = horizon_of(datagram, now_ms);
    struct place *places = places_of(mixed), *found = model_find(mixed, horizon_ms);

    if (!model_is_fresh(datagram, now_ms))
        return REPEAT_STALE;
    if (found && found->is_open)
        return REPEAT_OPEN;
    if (found) {
        for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < datagram->bit_count; part++)
            if (!model_find(tag_of_part(&world.set, datagram->tag, part), horizon_ms))
                return REPEAT_STALE;
        return REPEAT_KNOWN;
    }
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        if ((places[i].is_open ? places[i].gave_way_ms : places[i].forgot_ms) >= horizon_ms)
            return REPEAT_STALE;
    *ret_place = model_choose(places);
    if (!*ret_place)
        return REPEAT_STALE;
    model_take(*ret_place, mixed, now_ms);
    return REPEAT_NEW;
}

static void model_finish(const struct pending *pending)
{
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < pending->claim.bit_count; part++) {
        uint64_t mixed = tag_of_part(&world.set, pending->claim.tag, part);
        struct place *places = places_of(mixed), *place = model_choose(places);

        for (unsigned i = 0; i < RECORD_PLACES; i++)
            if (places[i].tag == mixed && !places[i].is_open)
                place = &places[i];
        if (!place)
            continue;
        model_take(place, mixed, pending->now_ms);
        place->is_open = false;
        place->is_done = true;
    }
    pending->place->is_open = false;
    pending->place->is_done = true;
}

static void model_withdraw(const struct pending *pending)
{
    *pending->place = (struct place){.arrival_ms = pending->place->forgot_ms,
                                     .forgot_ms = pending->place->forgot_ms};
}

static void model_sweep(void)
{
    for (unsigned i = 0; i < BUCKETS * RECORD_PLACES; i++) {
        struct place *place = &world.places[i / RECORD_PLACES][i % RECORD_PLACES];
        int64_t cleared_ms = world.now_ms - REPEAT_SWEEP_AFTER_MS;

        if (!place->is_open && place->arrival_ms < cleared_ms)
            *place = (struct place){.arrival_ms = cleared_ms, .forgot_ms = cleared_ms};
    }
}

/* Of a batch all take their places before any is confirmed. Does what the others had to forget in
 * other places of the bucket tell this one? Where it is only for the rounding of one that was just
 * withdrawn, both are right. */
static bool model_confirm(const struct pending *pending)
{
    struct place *places = places_of(pending->place->tag);
    int64_t horizon_ms = horizon_of(pending->datagram, pending->now_ms);
    bool is_told = false, is_told_for_sure = false;

    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        bool is_exact = places[i].is_open || places[i].withdrawn == world.chunk;

        if (&places[i] == pending->place)
            continue;
        is_told |= (places[i].is_open ? places[i].gave_way_ms : places[i].forgot_ms) >= horizon_ms;
        is_told_for_sure |= (is_exact ? places[i].gave_way_ms : places[i].forgot_ms) >= horizon_ms;
    }
    if (!is_told_for_sure && (!is_told || pending->claim.result == REPEAT_NEW))
        return true;
    const int64_t gave_way_ms = pending->place->gave_way_ms;

    model_withdraw(pending);
    pending->place->withdrawn = world.chunk;
    pending->place->gave_way_ms = gave_way_ms;
    return false;
}

/* ---- operations ---- */

static void make_datagram(struct datagram *datagram)
{
    int64_t span_ms = (int64_t)world.set.window_ms + world.set.ahead_ms;

    *datagram = (struct datagram){.tag = next_random()};
    if (below(4)) {
        datagram->sent_ms =
            world.now_ms + world.set.ahead_ms + 2 - below(below(2) ? span_ms + 4 : 30);
        datagram->sent_ms += (uint32_t)datagram->sent_ms == 0; /* 0 is no stamp */
    }
    datagram->bit_count = below(4) ? 1 + (uint32_t)below(24) : 1 + (uint32_t)below(70);
    for (unsigned i = 0; i < 2; i++)
        datagram->bits[i] = next_random();
}

static void close_pending(unsigned index)
{
    struct pending *pending = &world.open[index];

    if (below(4)) {
        pending->datagram->is_charged = true;
        pending->datagram->charged_ms = pending->now_ms;
        model_finish(pending);
        repeat_finish(&world.set, &pending->claim, pending->datagram->bits);
    } else {
        model_withdraw(pending);
        repeat_withdraw(&world.set, &pending->claim);
    }
    *pending = world.open[--world.open_count];
}

static void judge_bits(const struct datagram *datagram, const uint64_t *known)
{
    for (uint32_t bit = 0; bit < datagram->bit_count; bit++)
        if ((known[bit / 64] ^ datagram->bits[bit / 64]) >> bit % 64 & 1)
            fail("a bit of the decisions", bit, -1);
}

/* What came of one claim of a batch. */
static void judge(const struct pending *pending, enum repeat_result expected, const uint64_t *known)
{
    const struct datagram *datagram = pending->datagram;
    enum repeat_result result = pending->claim.result;

    if (result != expected)
        fail("result of a claim", expected, result);
    if (repeat_is_fresh(&world.set, (uint32_t)datagram->sent_ms, (uint32_t)pending->now_ms) !=
        model_is_fresh(datagram, pending->now_ms))
        fail("freshness", model_is_fresh(datagram, pending->now_ms), -1);
    world.results[result]++;
    if (result == REPEAT_KNOWN)
        judge_bits(datagram, &known[pending->claim.first_word]);
    if (result != REPEAT_NEW)
        return;
    if (datagram->is_charged && datagram->charged_ms >= horizon_of(datagram, pending->now_ms))
        fail("charged again after ms", -1, pending->now_ms - datagram->charged_ms);
    world.open[world.open_count++] = *pending;
}

/* One datagram, or a batch of them, which is to be as one after the other. */
static void submit(struct datagram *const *datagrams, unsigned count)
{
    int64_t now_ms = world.now_ms - (below(4) ? 0 : below(300)); /* a worker that is behind */
    struct pending pending[BATCH];
    struct repeat_claim claims[BATCH];
    enum repeat_result expected[BATCH];
    uint64_t known[BATCH * REPEAT_WORDS];

    for (unsigned i = 0; i < count; i++) {
        pending[i] = (struct pending){.datagram = datagrams[i], .now_ms = now_ms};
        claims[i] = (struct repeat_claim){.tag = datagrams[i]->tag,
                                          .sent_ms = (uint32_t)datagrams[i]->sent_ms,
                                          .now_ms = (uint32_t)now_ms,
                                          .bit_count = datagrams[i]->bit_count};
    }
    repeat_claim_all(&world.set, claims, count, known);
    for (unsigned i = 0; i < count; i++)
        pending[i].claim = claims[i];
    for (unsigned i = 0; i < count; i += LOOK_CHUNK) {
        const unsigned end = i + LOOK_CHUNK < count ? i + LOOK_CHUNK : count;

        world.chunk++;

        for (unsigned j = i; j < end; j++)
            expected[j] = model_claim(datagrams[j], now_ms, &pending[j].place);
        for (unsigned j = i; j < end; j++)
            if (expected[j] == REPEAT_NEW && !model_confirm(&pending[j]))
                expected[j] = REPEAT_STALE;
    }
    for (unsigned i = 0; i < count; i++)
        judge(&pending[i], expected[i], known);
    if (world.open_count && below(2))
        close_pending((unsigned)below(world.open_count));
    while (world.open_count >= OPEN)
        close_pending((unsigned)below(world.open_count));
}

/* Mostly a few ms, sometimes past a window, seldom hours: swept as it should be. */
static void pass_time(void)
{
    int64_t kind = below(1000), until_ms = world.now_ms;

    if (kind < 600)
        until_ms += below(8);
    else if (kind < 999)
        until_ms += below(kind < 900 ? 60 : 2 * REPEAT_SWEEP_AFTER_MS / 100000 + 400);
    else
        until_ms += below(30 * HOUR_MS);
    /* No worker is stopped for as long as a clock may lead: what it would write by its old one
     * takes younger records for old ones (seen once in millions of datagrams). */
    for (unsigned i = world.open_count; i-- > 0;)
        if (until_ms - world.open[i].now_ms > LEAD_MS - 1000)
            close_pending(i);
    while (world.now_ms < until_ms) {
        int64_t left_ms = until_ms - world.now_ms;

        world.now_ms += left_ms < HOUR_MS ? left_ms : HOUR_MS;
        if (left_ms > 1000) {
            repeat_sweep(&world.set, &world.cursor, BUCKETS, (uint32_t)world.now_ms);
            model_sweep();
        }
    }
}

static void run(uint32_t window_ms, uint32_t ahead_ms, int64_t start_ms, bool has_lanes,
                uint64_t count)
{
    struct repeat_options options = {.memory = world.memory,
                                     .size = sizeof world.memory,
                                     .window_ms = window_ms,
                                     .ahead_ms = ahead_ms,
                                     .now_ms = (uint32_t)start_ms,
                                     .is_shared = below(2),
                                     .secret = {next_random(), next_random()}};

    if (repeat_init(&world.set, &options))
        abort();
    world.set.has_lanes = world.set.has_lanes && has_lanes;
    world.set.has_transactions = world.set.has_transactions && below(4);
    world.now_ms = start_ms;
    world.open_count = 0;
    for (unsigned i = 0; i < BUCKETS * RECORD_PLACES; i++) {
        int64_t cleared_ms = start_ms - REPEAT_SWEEP_AFTER_MS;

        world.places[i / RECORD_PLACES][i % RECORD_PLACES] =
            (struct place){.arrival_ms = cleared_ms, .forgot_ms = cleared_ms};
    }
    for (unsigned i = 0; i < RECENT; i++)
        make_datagram(&world.recent[i]);
    for (uint64_t i = 0; i < count; i++, world.step++) {
        struct datagram *chosen[BATCH];
        unsigned size = below(4) ? 1 : 1 + (unsigned)below(below(4) ? 12 : BATCH);

        for (unsigned j = 0; j < size; j++) {
            chosen[j] = &world.recent[below(below(2) ? RECENT : 6)];
            bool is_busy = j > 0; /* of this batch as well, for all that is looked at here */

            for (unsigned k = 0; k < world.open_count; k++)
                is_busy |= world.open[k].datagram == chosen[j];
            if (below(3) == 0 && !is_busy)
                make_datagram(chosen[j]);
        }
        submit(chosen, size);
        if (below(3) == 0)
            pass_time();
    }
}

int main(void)
{
    static const struct {
        uint32_t window_ms, ahead_ms;
        int64_t start_ms;
    } runs[] = {
        {200, 20, 1000000000},         /* */
        {200, 20, (1ll << 32) - 3000}, /* wraps soon */
        {235, 20, (1ll << 34) - 50},   /* a gap of 255 ms is just too small */
        {1000, 100, (5ll << 25) - 77}, /* gaps of 8 ms; the 25 bits wrap */
        {1, 0, 1000000000},            /* */
        {60000, 5000, 1000000000},     /* */
    };
    const unsigned run_count = sizeof runs / sizeof *runs;
    uint64_t count = random_count(300000);

    world.seed = random_seed(1);
    world.random = world.seed;
    for (unsigned i = 0; i < 2 * run_count; i++)
        run(runs[i / 2].window_ms, runs[i / 2].ahead_ms, runs[i / 2].start_ms, i % 2,
            count / run_count / 2 + 1);
    printf("prop_repeat: %" PRIu64 " datagrams: %" PRIu64 " new, %" PRIu64 " known, %" PRIu64
           " open, %" PRIu64 " stale, as the model\n",
           world.results[0] + world.results[1] + world.results[2] + world.results[3],
           world.results[0], world.results[1], world.results[2], world.results[3]);
    for (unsigned i = 0; i < 4; i++)
        if (!world.results[i])
            fail("a result that never came", i, -1);
    return 0;
}
