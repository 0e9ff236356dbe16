/* A world of nodes, a network and a store in one thread, without clocks: everything follows from
 * the seed. sim.c says what is real in it and what is a model. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"
#include "core/merge.h"
#include "replica/partition.h"
#include "sys/clock.h"
#include "table/table.h"

#define NODES 16u
#define KEYS 3u
#define ROWS 32u
#define SLOTS 32u /* windows of a key that the store keeps */
#define PACKETS 512u
#define MS 1000000ll
#define STEP_NS (MS / 2)
#define FLUSH_NS (5 * MS)
#define READ_NS (250 * MS)
#define RETRY_NS (20 * MS)
#define STALE_STEPS 28u                /* two flushes, a round trip, and the grain of the steps */
#define CALM_NS (3000 * MS)            /* faults are over */
#define STOP_NS (4200 * MS)            /* traffic is over */
#define TABLES_NS (STOP_NS + 300 * MS) /* each node has read everything once more */
#define END_NS (5300 * MS)
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
};
#define FAULT_COUNT 10u
#define FAULTS_OF_DATA (FAULT_EMPTY | FAULT_BACK)

/* Deliberate mistakes, each of which some checker must see. */
enum wrong {
    WRONG_NOTHING,
    WRONG_REPEATS,    /* the store applies a number again */
    WRONG_NUMBER,     /* what is sent again gets a new number */
    WRONG_FORGETS,    /* what was not answered is dropped */
    WRONG_BASE,       /* deltas carry no base */
    WRONG_CLOCK,      /* ages are reckoned by the node's wall clock */
    WRONG_WINDOW,     /* a late delta is counted in the newest window */
    WRONG_SINCE,      /* an answer makes the node forget what it charged meanwhile */
    WRONG_SUM,        /* what old deltas owe is added instead of compared */
    WRONG_SHARE,      /* each node spends the whole limit */
    WRONG_COLD_START, /* a killed node starts with empty rows */
    WRONG_COUNT
};

struct item {
    uint32_t key, row, units;
    uint64_t window;
    struct merge_delta delta;
    int64_t first_ns;       /* true time */
    struct merge_cell cell; /* the answer */
};

struct packet {
    int64_t due_ns;
    uint32_t node, count;
    uint64_t sequence, store_now_us;
    bool is_answer;
    struct item items[ROWS];
};

struct node {
    struct table *table;
    struct partition partition;
    struct partition_row rows[ROWS];
    struct wall wall;
    int64_t clock_ns, host_error_ns; /* ahead of true time */
    int64_t flush_ns, read_ns, retry_ns;
    int64_t cut_until_ns, down_until_ns;
};

struct cell {
    bool is_used;
    uint64_t name;
    struct merge_cell cell;
    uint64_t units; /* of the judge's: what was admitted in this window */
};

struct known { /* of the store's value */
    uint64_t window, value;
};

struct data { /* the store's data set */
    struct cell cells[KEYS][SLOTS];
    uint64_t last[NODES];
    uint64_t usage;
};

struct world {
    uint64_t seed, random;
    enum wrong wrong;
    uint32_t faults, node_count, spread, overload_percent;
    int64_t now_ns;
    struct limit limit;
    struct calendar *calendar;
    struct node nodes[NODES];
    struct packet packets[PACKETS];
    uint32_t packet_count;

    struct data data, saved;
    int64_t store_ns, store_down_until_ns, saved_ns, crash_ns;

    /* what the judge knows */
    struct cell admitted[KEYS][SLOTS];
    uint64_t admitted_units, old_count;
    uint64_t central[KEYS]; /* ticks of true time */
    uint64_t debt_us, oldest_ns;
    struct merge_cell seen[NODES][KEYS]; /* bases when the store lost its data; buckets */
    struct known known[NODES][KEYS][2];  /* when the node charged last; two windows in turn */
    int64_t excess;                      /* beyond the limit: ticks, or units */
    int64_t flash_ns; /* when far more than the limit is asked at once; 0: never */
    const char *fault;
    long long left, right;
};

uint64_t sim_random(struct world *world, uint64_t bound);
struct key sim_key(uint32_t key);
uint64_t sim_store_us(const struct world *world);
struct cell *sim_cell(struct cell cells[SLOTS], uint64_t name); /* found or made */

/* node.c */
bool node_create(struct world *world, struct node *node);
void node_destroy(struct node *node);
void node_charge(struct world *world, struct node *node, uint32_t key, uint32_t cost);
uint64_t node_state(struct node *node, uint32_t key);
void node_step(struct world *world, struct node *node);
void node_answered(struct world *world, struct node *node, const struct packet *packet);

/* store.c */
void store_receive(struct world *world, struct packet *packet);
void store_step(struct world *world);

/* net.c */
void net_send(struct world *world, const struct packet *packet);
void net_step(struct world *world);
void net_drop_all(struct world *world);

/* judge.c */
void judge_charge(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost);
void judge_applied(struct world *world, uint32_t node, uint32_t key, struct merge_cell cell);
void judge_tables(struct world *world);
void judge_end(struct world *world);

#endif
