/* What a worker leaves out when more is asked than it can answer, and how much of it for whom.
 *
 * Overload is a queue that does not get empty: the worker has found more behind every receive for
 * the delay budget, and in SHED_LOOKS looks, while it ran, the sockets' buffers, which hold what
 * that budget takes, were half full or lost datagrams. Waiting alone is none, a closed loop keeps a
 * short queue for ever; nor is what came while the worker was kept from running, for that is
 * answered in as short a time as it took. It is over when for SHED_CALM_NS nobody asked for more
 * than there is and the queue was empty in between.
 *
 * While it lasts each tenant has a share of what the worker can do, the max-min fair one in checks
 * a second: who asks for less than the level gets all of it, the others get the level. Capacity is
 * measured as what was judged in SHED_LOOK_NS without a rest; while there are rests it grows. What
 * a tenant asks for is what came, divided by what the gate lets through (net/gate.h: the kernel
 * drops the most of it, because reading a datagram costs a third of answering it). The gate is set
 * SHED_GATE_SLACK above the share, and the credit here makes it exact.
 *
 * Independent of that: who came to a queue that was last seen empty longer ago than `max_age`, and
 * says by its clock that it was first sent so long ago, is of no use to anybody: the oldest go
 * first. Outside of overload nothing is dropped for its clock, because clocks may be wrong.
 *
 * A RELEASE is never shed, but uses its tenant's share. Guarantee: in any SHED_LOOK_NS a tenant
 * gets at least its share of what was judged in the one before, if it asked for that much; at most
 * SHED_TENANTS tenants at a time have shares of their own, others share one as large as theirs
 * together. What a share leaves over is kept for two looks.
 *
 * Tenants are those that datagrams name, before their tags are verified. What proves to be forged
 * is given back to its tenant and counts for a claimant of its own, who stands among the tenants
 * with what reading it costs: so forgeries take at most one fair share, and cost the tenant that
 * they name no credit. The kernel cannot tell them from its requests though: when they ask for more
 * than that share, the gate lets as much of both through as the share allows. Forged RELEASEs it
 * lets through all; they take what the queue has room for.
 *
 * Pure but for its own state, time is an argument. Threads: the worker's. */
#ifndef METE_NET_SHED_H
#define METE_NET_SHED_H

#include <stdbool.h>
#include <stdint.h>

#include "mete/wire.h"
#include "net/gate.h"

#define SHED_TENANTS 256u
#define SHED_LOOK_NS 10000000u  /* between two looks while there may be an overload */
#define SHED_LOOKS 8u           /* with a long queue, one after the other: then it is an overload */
#define SHED_GATE_NS 50000000u  /* the gate is set at most so often: the kernel compiles it anew */
#define SHED_CALM_NS 200000000u /* without any shedding: then it is over */

enum shed_fate {
    SHED_NOT,
    SHED_OLD,    /* of no use to who sent it; silently */
    SHED_SHARE,  /* its tenant's share is used up; silently */
    SHED_ANSWER, /* the same, and there is an answer left to say so */
};

struct shed_options {            /* may change between two looks */
    uint64_t budget_ns;          /* delay that the sockets' buffers are made for */
    uint64_t max_age_ns;         /* a request that was sent longer ago is of no use */
    uint64_t answers_per_second; /* SHED, at most; 0: none */
};

struct shed_tenant {
    uint32_t id;        /* 0: free */
    uint32_t row;       /* for counters */
    uint32_t read;      /* checks that came, since the last look */
    uint32_t released;  /* of them RELEASEs, which the gate never keeps */
    uint32_t passed;    /* judged */
    uint32_t forged;    /* of those not believed */
    uint64_t offered;   /* checks a second that it asks for, gate or not; averaged */
    uint64_t forgeries; /* the same of those that only name it */
    int64_t credit;     /* checks until the next look; RELEASEs may take more than there are */
    uint32_t threshold; /* of the gate as it is set, GATE_ALL: it lets all through */
};

struct shed_look { /* what the worker saw */
    uint64_t now_ns;
    uint32_t fill_percent; /* of the fullest socket's buffer */
    bool has_lost;         /* datagrams, for want of room, since the last look */
};

struct shed {
    struct shed_options options;
    bool is_on;
    bool was_full;        /* the last receive left something behind */
    uint64_t empty_at_ns; /* the queue was empty at that instant */
    uint64_t doubt_ns;    /* what came may have waited so long; 0: it did not */
    uint32_t rests;       /* turns since the last look that left nothing behind */
    uint32_t turns;       /* all of them */
    uint32_t long_looks;  /* one after the other that saw a long queue */
    uint64_t looked_at_ns;
    uint64_t next_look_ns;
    uint64_t calm_since_ns;
    uint64_t gate_set_ns;
    uint64_t capacity;      /* checks a second; 0: not known yet */
    uint64_t fill;          /* of the buffers, in 1/10,000; an average */
    uint64_t level;         /* checks a second; UINT64_MAX: nobody asks for too much */
    uint64_t forgery_level; /* the same of forged checks, among the tenants that they name */
    uint64_t answers_until_ns;
    bool has_joined; /* messages of several datagrams came */
    struct gate gate;
    struct shed_tenant tenants[SHED_TENANTS + 1]; /* the last: all others together */
};

void shed_init(struct shed *shed, uint64_t now_ns);

/* After every receive: whether it may have left something behind, and its clock. True: there is
 * doubt, so ask shed_is_due() and judge what came by shed_judge(). */
static inline bool shed_note(struct shed *shed, bool is_full, uint64_t now_ns)
{
    bool is_in_line = is_full || shed->was_full; /* what came may have waited behind others */
    shed->doubt_ns = is_in_line ? now_ns - shed->empty_at_ns : 0;
    shed->was_full = is_full;
    shed->turns++;
    if (!is_full) {
        shed->empty_at_ns = now_ns;
        shed->rests++;
    }
    return shed->is_on || shed->doubt_ns >= shed->options.budget_ns;
}

static inline bool shed_is_due(const struct shed *shed, uint64_t now_ns)
{
    return now_ns >= shed->next_look_ns;
}

/* Looks at what was asked and done since the last time. shed->is_on may change; true: the gate
 * ought to be set anew, as shed->gate says (without tenants: none is needed), after which
 * shed_gate_is_set() must follow. */
bool shed_take_look(struct shed *shed, const struct shed_look *look);

/* The kernel has it so, from now on. */
void shed_gate_is_set(struct shed *shed, uint64_t now_ns);

/* Checks that the gate kept from the tenant since the last look, an estimate. To be asked before
 * shed_take_look(). */
uint64_t shed_count_kept(const struct shed_tenant *tenant);

struct shed_question {
    const struct mete_header *header;
    uint32_t row;
    bool has_good_clock; /* of this life of the server */
    uint32_t clock_ms;   /* the server's */
};

enum shed_fate shed_judge(struct shed *shed, const struct shed_question *question, uint64_t now_ns);

/* What shed_judge() let through has not the tag of the tenant that it names. */
void shed_take_forged(struct shed *shed, const struct mete_header *header);

#endif
