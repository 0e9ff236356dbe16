/* What a node tells the store of one partition, and what the store answers: plain values, made and
 * read by the replicator (replicator.h), carried by the link.
 *
 * The store does with a batch, all at once:
 *   1. remembers the node as one that was heard of now; node_count: those of the last 3 s
 *   2. merge_admit() by (node_id, incarnation) and sequence. A node with another incarnation than
 *      the one remembered is new. A repeat changes nothing: it reads the cells and answers what was
 *      granted the first time
 *   3. for each key: limit_merge() of delta into the cell of (tenant_id, rule_id, override, shape,
 *      key, window); merge_demand() of wanted; merge_grant() of ask; units into the tenant's usage
 * All numbers that travel stay below 2^53, but for key, override, shape, node_id and incarnation,
 * which are names and travel as digits. */
#ifndef METE_REPLICA_BATCH_H
#define METE_REPLICA_BATCH_H

#include <stdint.h>

#include "core/key.h"
#include "core/merge.h"

#define BATCH_MAX_KEYS 512u
#define BATCH_MAX_PARTITIONS 1024u

struct batch_key {
    struct key key;
    uint64_t override; /* which numbers of the rule; 0: its own */
    uint64_t shape;  /* what the cell means: another length of window is another cell; buckets 0 */
    uint64_t window; /* its name; buckets 0 */
    uint32_t tenant_id, rule_id;
    enum merge_kind kind;
    int64_t units; /* admitted less given back: for the tenant's usage; reset and late ones count */
    uint32_t wanted; /* units asked for since the last batch, admitted or not */
    struct merge_delta delta;
    struct merge_ask ask;
    /* How long the store keeps the cell after this write. Windows: this long. Buckets: this long
     * after the debt is gone, or if its epoch is not 0 after the largest debt is (delta.cap_us). */
    uint64_t expiry_ms;
};

struct batch {
    uint64_t node_id;
    uint64_t incarnation; /* random for each life of the node's rows */
    uint64_t sequence;    /* per partition, from 1 */
    uint32_t partition;
    uint32_t count; /* may be 0: the node is there and wants to know who else is */
    struct batch_key keys[BATCH_MAX_KEYS];
};

struct batch_answer_key {
    struct merge_cell cell;
    uint64_t demand;   /* of all nodes, this batch included: merge_demand() */
    uint64_t previous; /* sliding windows: units of the window before */
    uint32_t granted;
};

struct batch_answer {
    uint64_t sequence;
    uint64_t store_now_us; /* wall time of the store when it applied the batch */
    uint32_t partition;
    uint32_t node_count;
    enum merge_batch outcome;
    uint32_t count; /* as the batch's, in its order */
    struct batch_answer_key keys[BATCH_MAX_KEYS];
};

#endif
