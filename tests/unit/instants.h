/* A test of a limit is a table of instants: what is asked when, and everything the answer says. The
 * state goes from row to row. Every row also shows that a denial and a peek leave the state alone
 * and that limit_rest_after() agrees with the verdict. */
#ifndef METE_TESTS_INSTANTS_H
#define METE_TESTS_INSTANTS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "core/limit.h"

#define MS 1000000ull
#define SEC 1000000000ull

struct row {
    uint64_t at_ns; /* after the base */
    uint8_t limit;  /* index into the limits of the table */
    enum operation operation;
    uint32_t cost;
    enum decision decision;
    uint32_t granted;
    uint32_t remaining;
    uint64_t retry_after_ns;
    uint64_t reset_after_ns;
};

/* So that a row fits a line. */
#define CHECK OPERATION_CHECK
#define PEEK OPERATION_PEEK
#define AT_MOST OPERATION_AT_MOST
#define REFUND OPERATION_REFUND
#define RESET OPERATION_RESET
#define DENIED DECISION_DENY
#define ALLOWED DECISION_ALLOW

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static inline struct limit compiled(enum algorithm algorithm, uint64_t count, uint64_t period_ns,
                                    uint64_t burst)
{
    struct limit limit;
    const struct limit_spec spec = {algorithm, count, period_ns, burst};
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

/* Returns the state after the last row. */
static inline uint64_t run_instants(const struct limit *limits, const struct row *rows,
                                    size_t count, uint64_t base_ns, uint64_t state)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        const struct limit *limit = &limits[row->limit];
        const uint64_t now_ns = base_ns + row->at_ns;
        const struct step step = limit_apply(limit, state, row->operation, row->cost, now_ns);
        const struct verdict *got = &step.verdict;
        if (got->decision != row->decision || got->granted != row->granted ||
            got->remaining != row->remaining || got->retry_after_ns != row->retry_after_ns ||
            got->reset_after_ns != row->reset_after_ns)
            fail_msg("base %llu row %zu: decision %d granted %u remaining %u retry %llu reset %llu",
                     (unsigned long long)base_ns, i, got->decision, got->granted, got->remaining,
                     (unsigned long long)got->retry_after_ns,
                     (unsigned long long)got->reset_after_ns);
        if (row->decision == DECISION_DENY || row->operation == OPERATION_PEEK || row->cost == 0)
            assert_true(step.state == state || row->operation == OPERATION_RESET);
        assert_true(limit_rest_after(limit, step.state, now_ns) == got->reset_after_ns);
        state = step.state;
    }
    return state;
}

#endif
