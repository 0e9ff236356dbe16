#include "doors/resp_throttle.h"

#include <stdbool.h>

#include "doors/resp_parse.h"

#define SECOND_NS 1000000000ull
#define MS_NS 1000000ull
#define US_NS 1000
#define MAX_PERIOD_S (LIMIT_MAX_NS / SECOND_NS)

/* A whole number with an optional sign, as the command's first home reads it; anything that does
 * not fit is insane. */
static bool read_number(const struct resp_word *word, int64_t *ret_number)
{
    size_t at = word->len > 0 && (word->bytes[0] == '-' || word->bytes[0] == '+');
    const bool is_negative = at && word->bytes[0] == '-';
    uint64_t number = 0;
    if (at == word->len)
        return false;
    for (; at < word->len; at++) {
        const uint8_t digit = (uint8_t)(word->bytes[at] - '0');
        if (digit > 9 || number > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = is_negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static const char *read_numbers(const struct resp_word *words, unsigned count, int64_t numbers[4])
{
    static const char *const errors[] = {
        "max_burst is not a whole number of 64 bits",
        "count is not a whole number of 64 bits",
        "period is not a whole number of 64 bits",
        "quantity is not a whole number of 64 bits",
    };
    for (unsigned i = 0; i < count; i++)
        if (!read_number(&words[i], &numbers[i]))
            return errors[i];
    return NULL;
}

static const char *judge(enum throttle_kind kind, const int64_t numbers[4])
{
    if (kind == THROTTLE_CELL && (numbers[0] < 0 || numbers[0] > (int64_t)UINT32_MAX - 2))
        return "max_burst is not from 0 to 4294967293";
    if (kind == THROTTLE_CRAB && (numbers[0] < 1 || numbers[0] > (int64_t)UINT32_MAX - 1))
        return "max_burst is not from 1 to 4294967294";
    if (numbers[1] < 1)
        return "count is below 1; a rate of zero lets nothing pass";
    if (numbers[2] < 1 || numbers[2] > (int64_t)MAX_PERIOD_S)
        return "period is not from 1 to 315360000 seconds";
    if (numbers[3] < 0)
        return "quantity is below 0";
    return NULL;
}

const char *throttle_parse(enum throttle_kind kind, const struct resp_word *words, unsigned count,
                           struct throttle *ret_throttle)
{
    int64_t numbers[4] = {0, 0, 0, 1}, increment;
    const char *error = read_numbers(words, count, numbers);
    if (!error)
        error = judge(kind, numbers);
    if (error)
        return error;
    const uint64_t interval_ns =
        (uint64_t)((double)(numbers[2] * (int64_t)SECOND_NS) / (double)numbers[1]);
    const struct limit_spec spec = {
        .algorithm = ALGORITHM_TOKEN_BUCKET,
        .count = 1,
        .period_ns = interval_ns,
        .burst = (uint64_t)numbers[0] + (kind == THROTTLE_CELL),
    };
    struct limit limit;
    const enum limit_error limit_error = limit_compile(&spec, &limit);
    if (interval_ns == 0)
        return "the rate is above 1000000000 per second";
    if (limit_error != LIMIT_OK)
        return limit_error_text(limit_error);
    if (__builtin_mul_overflow((int64_t)interval_ns, numbers[3], &increment))
        return "quantity at this rate is above 292 years";
    limit.keeps_tat = 1;
    /* the largest burst is below UINT32_MAX: what does not fit is denied for ever, as it would be
     */
    *ret_throttle = (struct throttle){
        .kind = kind,
        .limit = limit,
        .interval_ns = interval_ns,
        .cost = numbers[3] > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)numbers[3],
    };
    return NULL;
}

/* Seconds: up from a whole millisecond on. */
static int64_t cell_seconds(uint64_t ns)
{
    return (int64_t)(ns / SECOND_NS + (ns % SECOND_NS >= MS_NS));
}

static int64_t seconds_up(uint64_t ns)
{
    return (int64_t)(ns / SECOND_NS + (ns % SECOND_NS != 0));
}

static int64_t cell_remaining(const struct throttle *throttle, uint64_t debt_ns)
{
    const int64_t interval_ns = (int64_t)throttle->interval_ns;
    const int64_t room_ns = (int64_t)(throttle->interval_ns * throttle->limit.burst - debt_ns);
    if (room_ns <= -interval_ns)
        return 0;
    if (interval_ns < US_NS) /* there it divides by zero; here is what is meant */
        return room_ns > 0 ? room_ns / interval_ns : 0;
    /* NOLINTNEXTLINE(bugprone-integer-division): whole microseconds, as redis-cell has */
    return (int64_t)((double)(room_ns / US_NS) / (double)(interval_ns / US_NS));
}

void throttle_reply(const struct throttle *throttle, const struct answer *answer,
                    int64_t ret_numbers[5])
{
    const bool is_allowed = answer->flags & METE_VERDICT_ALLOW;
    ret_numbers[1] = throttle->limit.burst;
    if (throttle->kind == THROTTLE_CELL) {
        ret_numbers[0] = !is_allowed;
        ret_numbers[2] = cell_remaining(throttle, answer->reset_after_ns);
        ret_numbers[3] = is_allowed || answer->retry_after_ns == NEVER
                             ? -1
                             : cell_seconds(answer->retry_after_ns);
        ret_numbers[4] = cell_seconds(answer->reset_after_ns);
    } else {
        ret_numbers[0] = is_allowed;
        ret_numbers[2] = answer->remaining;
        ret_numbers[3] = seconds_up(answer->reset_after_ns);
        ret_numbers[4] = answer->retry_after_ns == NEVER ? -1 : seconds_up(answer->retry_after_ns);
    }
}
