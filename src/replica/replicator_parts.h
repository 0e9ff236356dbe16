/* What the files of the replicator share. Only they include this. */
#ifndef METE_REPLICA_REPLICATOR_PARTS_H
#define METE_REPLICA_REPLICATOR_PARTS_H

#include "replica/replicator.h"
#include "replica/rows.h"
#include "replica/store_clock.h"
#include "sys/clock.h"

#define MS_NS 1000000ull
#define RETRY_NS (1 * MS_NS) /* after a failure; twice as long after the next */
#define RETRY_MAX_NS (20 * MS_NS)
#define HEARTBEAT_NS (1000 * MS_NS)  /* the store forgets a node after three */
#define LINGER_NS (1000 * MS_NS)     /* how long a key is read after its last use */
#define LINGER_READS 32u             /* of such keys, per flush */
#define LINGER_MAX 1024u             /* of such keys at one time */
#define DENIED_READ_NS (100 * MS_NS) /* how often an exact key that is denied is read */
#define DEGRADED_NS (250 * MS_NS)    /* without an answer, or three flushes */
#define TOUCH_TENANTS 256u           /* tenants share what first touches they may have */
#define TOUCHES_PER_FLUSH 64u        /* of each; beyond it a new key waits for the next flush */
#define STALE_FLUSHES 4u             /* what was not heard of for longer is as good as unknown */
#define TAKEN_AT_ONCE 1024u          /* events of a ring, before what is due is sent */
#define GATHERING_NS (3000 * MS_NS)  /* after the first answer: others may not have been heard */
#define REGAINING_NS (1000 * MS_NS)  /* after an outage, likewise: links wait as long at most */
#define SETTLING_ANSWERS 3u          /* until then others' demand may not be in an answer */
#define PATIENCE_ANSWERS 10u         /* after something was denied */

struct partition {
    struct rows_list waiting;
    uint32_t urgent_count; /* rows at the begin of it */
    uint32_t flight_count;
    uint64_t sequence;  /* of the batch in flight, else of the last one */
    uint64_t answered;  /* the last one that was; less than sequence: a batch is in flight */
    uint64_t begun_ns;  /* when the batch was sent for the first time */
    uint64_t due_ns;    /* when the next one may be, if there is something */
    uint64_t oldest_ns; /* of what is in flight: when it was charged */
    bool is_in_flight;
    bool must_send; /* at send_ns: it was not sent yet, or will not be answered */
    uint64_t send_ns;
    uint64_t retry_ns;               /* how long the next failure waits */
    uint32_t flight[BATCH_MAX_KEYS]; /* numbers of rows */
};

struct kept { /* a grant whose rest goes back to the store */
    uint32_t row;
    uint64_t until_ns;
};

struct replicator {
    struct replicator_options options;
    struct rows rows;
    struct partition *partitions;
    struct rows_list lingering;
    struct store_clock clock;
    struct wall wall; /* of the store, kept from going back, on the table's clock */
    uint64_t now_ns;
    uint64_t flush_at_ns;    /* the next look at what lingers and what was denied */
    uint64_t active_at_ns;   /* when the rings last held something */
    uint64_t asked_at_ns;    /* when a grant was last wanted */
    uint32_t next_partition; /* round robin */
    bool has_more;           /* in the rings: they are looked at again at once */
    uint32_t *hints;         /* the row last seen for an entry, by its index modulo rows.count */
    uint32_t node_count;
    uint64_t first_answer_ns; /* 0: none came */
    uint64_t regained_ns;     /* when it was last degraded */
    bool is_finishing;
    uint8_t touches[TOUCH_TENANTS];
    uint64_t *refused_seen; /* per ring */
    uint64_t sweep_cursor;
    uint64_t sweep_left; /* groups to look at for what found no room */
    bool sweep_all;
    struct kept *kept; /* a queue of rows.count places */
    uint32_t kept_first, kept_count;
    struct replicator_state state;
    struct latency wait, trip; /* struct replicator_delays */
    uint64_t longest_wait_ns, longest_trip_ns;
    struct batch batch;
};

static inline struct row *replicator_row(struct replicator *replicator, uint32_t number)
{
    return &replicator->rows.rows[number];
}

static inline struct instant replicator_instant(const struct replicator *replicator)
{
    return (struct instant){.now_ns = replicator->now_ns,
                            .wall_ns = wall_at(&replicator->wall, replicator->now_ns)};
}

/* 1/N, as the store or the configuration says. */
static inline float replicator_fair_share(const struct replicator *replicator)
{
    return 1.0f / (float)replicator->node_count;
}

/* replicator_take.c: from rings and entries into rows. */
void take_rings(struct replicator *replicator);
void take_demands(struct replicator *replicator);
void take_leftovers(struct replicator *replicator); /* what found no room before */
/* Has each entry that has pending found by a look at all of them. A look that is under way begins
 * anew from where it is: it may have passed what was left behind. */
void take_all_later(struct replicator *replicator);
void take_spilled(void *replicator, const struct table_spilled *spilled); /* table_spill_fn */
bool take_entry(struct replicator *replicator, uint64_t index, uint64_t first_ns, bool is_new);
void take_kept(struct replicator *replicator); /* grants that were not spent in time */

/* Puts a row that has something to tell into its partition's list. */
void replicator_list(struct replicator *replicator, struct row *row, bool is_urgent);
/* Puts a row that has nothing to tell aside. */
void replicator_rest(struct replicator *replicator, struct row *row);

/* replicator_resume.c: what the memory holds of the process before. */
void replicator_resume(struct replicator *replicator);

/* What was written before stands in the memory before what is written behind, wherever the process
 * ends in between: processors write in order for who comes later, and so must the compiler. */
static inline void batch_settle_before(void)
{
    __asm__("" ::: "memory"); /* without outputs: never left out */
}

/* replicator_batch.c: from rows into a batch. */
void batch_begin(struct replicator *replicator, struct partition *partition);
void batch_compose(struct replicator *replicator, struct partition *partition);

#endif
