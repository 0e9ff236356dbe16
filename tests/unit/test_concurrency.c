/* The count of slots in flight: a table of states, operations and what must come of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limit.h"

#define LEASE_NS 30000000000ull

struct row {
    uint64_t state;
    enum operation operation;
    uint32_t cost;
    uint64_t next;
    enum decision decision;
    uint32_t granted, remaining;
    uint64_t retry_after_ns, reset_after_ns;
};

static const struct row rows[] = {
    {0, OPERATION_CHECK, 1, 1, DECISION_ALLOW, 1, 4, 0, LEASE_NS},
    {4, OPERATION_CHECK, 1, 5, DECISION_ALLOW, 1, 0, 0, LEASE_NS},
    {5, OPERATION_CHECK, 1, 5, DECISION_DENY, 0, 0, LEASE_NS, LEASE_NS},
    {0, OPERATION_CHECK, 5, 5, DECISION_ALLOW, 5, 0, 0, LEASE_NS},
    {1, OPERATION_CHECK, 5, 1, DECISION_DENY, 0, 4, LEASE_NS, LEASE_NS},
    {0, OPERATION_CHECK, 6, 0, DECISION_DENY, 0, 5, NEVER, 0},
    {3, OPERATION_CHECK, UINT32_MAX, 3, DECISION_DENY, 0, 2, NEVER, LEASE_NS},
    {3, OPERATION_CHECK, 0, 3, DECISION_ALLOW, 0, 2, 0, LEASE_NS},
    {3, OPERATION_PEEK, 2, 3, DECISION_ALLOW, 0, 2, 0, LEASE_NS},
    {3, OPERATION_PEEK, 3, 3, DECISION_DENY, 0, 2, LEASE_NS, LEASE_NS},
    {3, OPERATION_AT_MOST, 9, 5, DECISION_ALLOW, 2, 0, 0, LEASE_NS},
    {5, OPERATION_AT_MOST, 1, 5, DECISION_DENY, 0, 0, LEASE_NS, LEASE_NS},
    {3, OPERATION_REFUND, 2, 1, DECISION_ALLOW, 0, 4, 0, LEASE_NS},
    {3, OPERATION_REFUND, 3, 0, DECISION_ALLOW, 0, 5, 0, 0},
    {3, OPERATION_REFUND, UINT32_MAX, 0, DECISION_ALLOW, 0, 5, 0, 0},
    {3, OPERATION_RESET, 0, 0, DECISION_ALLOW, 0, 5, 0, 0},
    /* a limit that was lowered: nothing passes until the count has fallen below it */
    {8, OPERATION_CHECK, 1, 8, DECISION_DENY, 0, 0, LEASE_NS, LEASE_NS},
    {8, OPERATION_REFUND, 1, 7, DECISION_ALLOW, 0, 0, 0, LEASE_NS},
    /* what is no count at all is full */
    {UINT64_MAX, OPERATION_CHECK, 1, UINT64_MAX, DECISION_DENY, 0, 0, LEASE_NS, LEASE_NS},
};

static void counts_slots(void **state)
{
    (void)state;
    const struct limit_spec spec = {ALGORITHM_CONCURRENCY, 5, LEASE_NS, 0};
    struct limit limit;
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        for (uint64_t now_ns = 0; now_ns <= 2 * LEASE_NS; now_ns += LEASE_NS) {
            struct step step = limit_apply(&limit, row->state, row->operation, row->cost, now_ns);
            const struct verdict *verdict = &step.verdict;
            if (step.state != row->next || verdict->decision != row->decision ||
                verdict->granted != row->granted || verdict->remaining != row->remaining ||
                verdict->retry_after_ns != row->retry_after_ns ||
                verdict->reset_after_ns != row->reset_after_ns)
                fail_msg("row %zu", i);
        }
        assert_int_equal(limit_rest_after(&limit, row->state, LEASE_NS), row->state ? NEVER : 0);
    }
    assert_int_equal(limit_wrap_ns(&limit), NEVER);
    assert_false(limit_is_wall(&limit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
