#include "obs/counters.h"

static const char *const names[COUNTER_COUNT] = {
    [COUNTER_RECEIVED] = "received",
    [COUNTER_ANSWERED] = "answered",
    [COUNTER_BAD_LENGTH] = "bad_length",
    [COUNTER_BAD_MAGIC] = "bad_magic",
    [COUNTER_BAD_VERSION] = "bad_version",
    [COUNTER_BAD_TYPE] = "bad_type",
    [COUNTER_BAD_COUNT] = "bad_count",
    [COUNTER_BAD_SIZES] = "bad_sizes",
    [COUNTER_BAD_SUBJECT] = "bad_subject",
    [COUNTER_BAD_TAG] = "bad_tag",
    [COUNTER_UNTRUSTED] = "untrusted",
    [COUNTER_UNBOUND] = "unbound",
    [COUNTER_UNKNOWN_TENANT] = "unknown_tenant",
    [COUNTER_UNSUPPORTED] = "unsupported",
    [COUNTER_LIMITED] = "limited",
    [COUNTER_HELLO] = "hello",
    [COUNTER_RESTARTED] = "restarted",
    [COUNTER_STALE] = "stale",
    [COUNTER_REPEATS] = "repeats",
    [COUNTER_DROPPED_OPEN] = "dropped_open",
    [COUNTER_KERNEL_DROPS] = "kernel_drops",
    [COUNTER_SEND_ERRORS] = "send_errors",
    [COUNTER_RECEIVE_ERRORS] = "receive_errors",
    [COUNTER_CHECKS] = "checks",
    [COUNTER_ALLOWED] = "allowed",
    [COUNTER_DENIED] = "denied",
    [COUNTER_WOULD_DENY] = "would_deny",
    [COUNTER_PEEKED] = "peeked",
    [COUNTER_REFUNDED] = "refunded",
    [COUNTER_RESET] = "reset",
    [COUNTER_UNKNOWN_RULE] = "unknown_rule",
    [COUNTER_BAD_LIMIT] = "bad_limit",
    [COUNTER_NEED_SUBJECT] = "need_subject",
    [COUNTER_TABLE_FULL] = "table_full",
    [COUNTER_SWAP_RETRIES] = "swap_retries",
    [COUNTER_SWEPT] = "swept",
    [COUNTER_BATCHES] = "batches",
};

const char *counter_name(enum counter counter)
{
    return names[counter];
}
