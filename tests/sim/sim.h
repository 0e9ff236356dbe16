/* A world of nodes, a network and a store in one thread, without clocks: everything follows from
 * the seed. sim.c says what is real in it and what is a model. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"
#include "core/merge.h"
#include "engine/engine.h"
#include "engine/shared.h"
#include "replica/batch.h"
#include "replica/demand.h"
#include "replica/replicator.h"
#include "replica/ring.h"
#include "replica/shared_state.h"
#include "sys/clock.h"
#include "table/table.h"

#define NODES 16u
#define KEYS 3u
#define PARTITIONS 2u
#define ROWS 48u
#define SLOTS 96u /* windows of a key that the store keeps; clocks that are wrong name many */
#define PACKETS 1024u
#define PACKET_KEYS ROWS
#define RING_CELLS 4096u
#define DEMAND_CELLS 64u
#define PARKED 256u
#define MS 1000000ll
#define FLUSH_NS (5 * MS)
#define TIMEOUT_NS (60 * MS) /* of the link: no answer will come any more */
#define WAIT_NS (20 * MS)    /* how long a check of an exact limit may wait */
#define ASK_NS (5 * MS)      /* how often what waits is asked for */
#define MOST_COST 3u

enum fault {
    FAULT_LOSS = 1,
    FAULT_DOUBLE = 2,
    FAULT_DELAY = 4, /* and with it, another order */
    FAULT_CUT = 8,   /* of some nodes, one after the other */
    FAULT_OUTAGE = 16,
    FAULT_KILL = 32,       /* a node, and its warm start */
    FAULT_HOST_CLOCK = 64, /* a node's wall clock is wrong by up to an hour */
    FAULT_EMPTY = 128,     /* the store loses everything */
    FAULT_BACK = 256,      /* the store loses the last moments */
    FAULT_STORE_CLOCK = 512,
    FAULT_MOVE = 1024, /* the store answers "not now, not here": a slot on its way, a full memory */
    FAULT_SLOW = 2048, /* the store stalls */
    FAULT_COLD = 4096, /* a node is killed and starts with nothing */
    FAULT_CROWD = 8192, /* a ring so small that it is often full */
};
#define FAULT_COUNT 14u
#define FAULTS_OF_DATA (FAULT_EMPTY | FAULT_BACK)

/* Deliberate mistakes, each of which some checker must see. */
enum wrong {
    WRONG_NOTHING,
    WRONG_REPEATS,    /* the store applies a number again */
    WRONG_NUMBER,     /* what is sent again gets a new number */
    WRONG_FORGETS,    /* the store answers now and then and did nothing */
    WRONG_BASE,       /* deltas carry no base */
    WRONG_CLOCK,      /* ages are reckoned by the node's wall clock */
    WRONG_WINDOW,     /* a late delta is counted in the newest window */
    WRONG_SINCE,      /* an answer makes the node forget what it charged meanwhile */
    WRONG_SUM,        /* what old deltas owe is added instead of compared */
    WRONG_SHARE,      /* each node spends the whole limit */
    WRONG_COLD_START, /* rows are lost with the process, the table is not */
    WRONG_GRANTS,     /* what is granted is charged to nobody */
    WRONG_RING,       /* now and then an event of the ring is lost */
    WRONG_LIFE,       /* the store takes a node's new life for the old one */
    WRONG_LOSS,       /* without the store nodes do what another on_backend_loss says */
    WRONG_COUNT
};

/* Who is not scheduled now and then, for up to world.late_ns. */
enum late {
    LATE_REPLICATORS = 1, /* a node's replication thread, one flush in 20 */
    LATE_NODES = 2,       /* all of it, one flush in 40 */
    LATE_STORE = 4,       /* one flush in 20 */
    LATE_LOAD = 8,        /* likewise */
};

enum packet_kind {
    PACKET_BATCH,
    PACKET_ANSWER,
    PACKET_REFUSAL, /* was not applied: try again */
};

struct packet {
    int64_t due_ns;
    uint64_t node_id, incarnation, sequence, store_now_us;
    uint32_t node, partition, node_count, count;
    enum packet_kind kind;
    enum merge_batch outcome;
    bool is_again;
    int64_t sent_ns;
    struct batch_key keys[PACKET_KEYS]; /* `count` of them, and of the answers */
    struct batch_answer_key answers[PACKET_KEYS];
};

struct flight { /* what the link knows of a partition */
    bool is_under_way;
    uint64_t sequence, renumbered;
    int64_t until_ns;  /* then it gives up waiting */
    int64_t failed_ns; /* then it says so; 0: nothing to say */
};

struct parked {
    uint32_t key, cost;
    int64_t until_ns, asked_ns;
};

struct node {
    struct table *table;
    struct engine engine;
    struct engine_shared shared;
    struct shared_state state;
    struct ring ring;
    struct ring *rings[1];
    struct ring_cell cells[RING_CELLS];
    struct demand demand;
    struct demand *demands[1];
    _Atomic uint64_t demand_cells[DEMAND_CELLS];
    struct replicator *replicator;
    struct counters *counters;
    struct rule_counters rule_counters[8];
    struct wall wall;
    bool has_store_wall;
    uint64_t due_ns; /* its clock: the next tick */
    struct flight flights[PARTITIONS];
    struct parked parked[PARKED];
    uint32_t parked_count;
    uint64_t id, incarnation;
    uint32_t row;                    /* the rule's, in the table */
    int64_t clock_ns, host_error_ns; /* ahead of true time */
    int64_t cut_until_ns, down_until_ns;
    int64_t asleep_until_ns; /* its replication thread alone */
    int64_t stopped_until_ns;
    uint32_t queued; /* checks of key 0 for a unit that came meanwhile */
};

struct cell {                    /* of the store */
    bool is_used, was_forgotten; /* when it expired */
    uint64_t name;
    struct merge_cell cell;
    uint64_t demand, demand_us, forget_us;
    uint64_t units; /* of the judge's: what was admitted in this window */
};

struct member { /* a node's partition, as the store knows it */
    uint64_t id, incarnation, last, heard_us;
    uint32_t granted[PACKET_KEYS];
};

struct data { /* the store's data set */
    struct cell cells[KEYS][SLOTS];
    struct member members[NODES][PARTITIONS];
    uint64_t usage;
};

/* What the judge knows of a node and a key. */
struct seen {
    uint64_t window;
    struct merge_cell cell, before; /* the last two that were delivered; of this window */
    struct merge_cell best;         /* the largest one, of buckets */
    double widest, widest_before;   /* the node's largest share since, and before that */
    bool has_charged;
    double wanted; /* halves every 50 ms */
    int64_t wanted_ns;
};

/* What the judge knows of a node and a key without the store. */
struct alone {
    uint64_t own;        /* ticks of true time: a bucket charged with what this node passed */
    uint64_t own_window; /* or what it passed in this window */
    uint64_t own_units;
    int64_t since_ns; /* it decides without the store; 0: it does not */
    uint64_t view;    /* what it owed then, in true ticks, and what was charged since */
};

struct world {
    uint64_t seed, random;
    enum wrong wrong;
    uint32_t faults, node_count, partitions, key_count, most_cost, overload_percent;
    int64_t now_ns, step_ns, calm_ns, stop_ns, end_ns; /* faults are over, traffic is over */
    int64_t way_ns; /* a message takes a sixth of it to all of it */
    struct limit limit;
    struct limit_spec spec;
    struct calendar *calendar;
    struct config *config;
    const struct tenant *tenant;
    uint32_t rule_id;
    struct node nodes[NODES];
    struct packet *packets; /* PACKETS of them */
    uint32_t packet_count;

    struct data data, saved;
    int64_t store_ns, store_down_until_ns, slow_until_ns, saved_ns, crash_ns;

    /* what the judge knows */
    struct cell admitted[KEYS][SLOTS];
    uint64_t admitted_units, forgiven_units, old_count;
    uint64_t node_admitted[NODES], node_applied[NODES];
    uint64_t central[KEYS]; /* ticks of true time */
    uint64_t oldest_ns;
    struct seen seen[NODES][KEYS][2]; /* two windows in turn */
    struct alone alone[NODES][KEYS];
    int64_t excess;   /* beyond the limit: ticks, or units */
    int64_t flash_ns; /* when far more than the limit is asked at once; 0: never */
    bool gives_back;  /* refunds and resets happen, too */
    int64_t late_ns;  /* how long whoever is late is away at most */
    uint32_t late;    /* enum late: who */
    int64_t load_stopped_until_ns;
    double load_owed; /* checks that it has not sent yet */
    double demand;    /* units a second for each key; 0: by overload_percent */
    void (*on_charge)(struct world *world, uint32_t key, uint32_t cost);
    const char *fault;
    long long left, right;
};

uint64_t sim_random(struct world *world, uint64_t bound);
bool sim_is_late(struct world *world, enum late who); /* from now on; asked once a step */
struct key sim_key(uint32_t key);
uint32_t sim_key_number(struct key key);
uint64_t sim_store_us(const struct world *world);
struct cell *sim_cell(struct cell cells[SLOTS], uint64_t name); /* found or made */
bool sim_is_exact(const struct world *world);

/* world.c: what a world is like, from its seed, and its course. */
bool world_choose(struct world *world);
bool world_begin(struct world *world);
void world_run(struct world *world); /* after one of these; ends it, too */

/* accuracy.c */
int accuracy_print(bool is_short, uint64_t late_ms, uint32_t late);

/* node.c */
bool node_create(struct world *world, struct node *node);
void node_destroy(struct node *node);
void node_restart(struct world *world, struct node *node, bool keeps_table);
void node_ask(struct world *world, struct node *node, uint32_t key, uint32_t cost);
void node_give_back(struct world *world, struct node *node, uint32_t key,
                    uint32_t cost); /* 0: all */
uint64_t node_state(struct node *node, uint32_t key, double *ret_share);
void node_step(struct world *world, struct node *node);
void node_receive(struct world *world, struct node *node, struct packet *packet);

/* store.c */
void store_receive(struct world *world, struct packet *packet);
void store_step(struct world *world);

/* net.c */
void net_send(struct world *world, const struct packet *packet);
void net_step(struct world *world);
void net_drop(struct world *world, const struct node *node); /* NULL: all connections */

/* judge.c */
void judge_fail(struct world *world, bool holds, const char *what, long long left, long long right);
void judge_want(struct world *world, uint32_t node, uint32_t key, uint32_t cost);
void judge_charge(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost);
void judge_applied(struct world *world, const struct packet *packet, uint32_t item, uint32_t key);
void judge_delivered(struct world *world, const struct packet *packet);
void judge_cold(struct world *world, uint32_t node);
void judge_end(struct world *world);

/* judge_loss.c */
void judge_verdict(struct world *world, uint32_t node, uint32_t key, uint32_t cost, uint32_t flags);
void judge_alone(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost);
void judge_heard(struct world *world, const struct packet *packet);
bool judge_may_lose(const struct world *world); /* may a node ever decide without the store? */

#endif
