/* A rule in one line, as commands take it: ALGORITHM [COUNT/[N]UNIT] [burst N] [queue|deny], or
 * calendar COUNT/PERIOD [ZONE]. The same bounds hold as in a file. Any thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/calendars.h"
#include "config/config.h"
#include "config/report.h"
#include "config/value.h"

#define MAX_WORDS 6u
#define MAX_TEXT 256u

struct words {
    char text[MAX_TEXT];
    char *word[MAX_WORDS];
    unsigned count, next;
};

static int split(const char *text, struct words *words)
{
    char *save = NULL;
    const size_t len = strlen(text);
    if (len >= sizeof(words->text))
        return -EINVAL;
    memcpy(words->text, text, len + 1);
    for (char *word = strtok_r(words->text, " \t", &save); word;
         word = strtok_r(NULL, " \t", &save)) {
        if (words->count == MAX_WORDS)
            return -EINVAL;
        words->word[words->count++] = word;
    }
    return words->count ? 0 : -EINVAL;
}

static const char *next_word(struct words *words)
{
    return words->next < words->count ? words->word[words->next++] : NULL;
}

/* True, and past it, if the next word is this one. */
static bool skip_word(struct words *words, const char *word)
{
    if (words->next == words->count || strcmp(words->word[words->next], word) != 0)
        return false;
    words->next++;
    return true;
}

static int parse_burst(struct words *words, struct limit_spec *spec, char *error, size_t size)
{
    const char *text = next_word(words), *end = "";
    uint64_t burst = 0;
    if (!text || value_parse_digits(text, &burst, &end) || *end || burst == 0 ||
        burst > UINT32_MAX) {
        snprintf(error, size, "burst '%.64s' is not a whole number from 1 to 4294967295",
                 text ? text : "");
        return -EINVAL;
    }
    spec->burst = burst;
    return 0;
}

static int parse_numbers(struct words *words, struct limit_spec *spec, char *error, size_t size)
{
    const bool bucket =
        spec->algorithm == ALGORITHM_TOKEN_BUCKET || spec->algorithm == ALGORITHM_LEAKY_METER;
    const char *rate = next_word(words);
    int result;

    if (!rate) {
        snprintf(error, size, "%s needs a %s; for example '%s 10/s'",
                 algorithm_name(spec->algorithm), bucket ? "rate" : "limit",
                 algorithm_name(spec->algorithm));
        return -EINVAL;
    }
    result = value_parse_rate(rate, &spec->count, &spec->period_ns, error, size);
    if (result == 0 && bucket) {
        spec->burst = spec->count;
        if (skip_word(words, "burst"))
            result = parse_burst(words, spec, error, size);
    }
    if (result == 0 && spec->algorithm == ALGORITHM_LEAKY_METER && !skip_word(words, "deny") &&
        skip_word(words, "queue"))
        spec->algorithm = ALGORITHM_LEAKY_QUEUE;
    return result;
}

static const char *explain(enum limit_error problem, const struct limit_spec *spec)
{
    if (problem != LIMIT_BURST_TOO_LARGE)
        return limit_error_text(problem);
    return spec->burst ? "burst, by default the rate's count, is above 4294967295; add `burst N`"
                       : "limit is above 4294967295";
}

static int refuse_rest(struct words *words, char *error, size_t size)
{
    if (words->next == words->count)
        return 0;
    snprintf(error, size, "'%.64s' is not expected after '%.64s'", words->word[words->next],
             words->word[words->next - 1]);
    return -EINVAL;
}

static int parse_text(const char *text, struct limit_spec *ret_spec, char *error, size_t size)
{
    struct words words = {.count = 0};
    struct limit_spec spec = {.algorithm = ALGORITHM_NONE};
    struct limit compiled;

    if (split(text, &words)) {
        snprintf(error, size, "'%.64s' is not a rule; for example 'token_bucket 10/s burst 20'",
                 text);
        return -EINVAL;
    }
    spec.algorithm = algorithm_parse(next_word(&words));
    if (spec.algorithm == ALGORITHM_CALENDAR) {
        snprintf(error, size, "calendar is not served here, for it needs a time zone");
        return -EINVAL;
    }
    if (spec.algorithm == ALGORITHM_NONE || spec.algorithm == ALGORITHM_CONCURRENCY) {
        snprintf(error, size,
                 "'%.64s' is not a served algorithm; one of token_bucket, leaky_bucket, "
                 "fixed_window, sliding_window, calendar, unlimited, deny",
                 words.word[0]);
        return -EINVAL;
    }
    if (spec.algorithm != ALGORITHM_UNLIMITED && spec.algorithm != ALGORITHM_DENY &&
        parse_numbers(&words, &spec, error, size))
        return -EINVAL;
    if (refuse_rest(&words, error, size))
        return -EINVAL;
    const enum limit_error problem = limit_compile(&spec, &compiled);
    if (problem != LIMIT_OK) {
        snprintf(error, size, "%s", explain(problem, &spec));
        return -EINVAL;
    }
    *ret_spec = spec;
    return 0;
}

int config_parse_rule_text(const char *text, struct limit_spec *ret_spec, char *error, size_t size)
{
    const int result = parse_text(text, ret_spec, error, size);
    if (result && size)
        report_make_printable(error);
    return result;
}

/* COUNT/PERIOD [ZONE], behind the algorithm. */
static int parse_calendar(struct words *words, struct limit *ret_limit,
                          struct calendar **ret_calendar, char *error, size_t size)
{
    const char *text = next_word(words), *zone = next_word(words), *end = "";
    struct calendar *calendar;
    enum calendar_per per;
    uint64_t count = 0;

    if (!text || value_parse_digits(text, &count, &end) || *end != '/' || count == 0 ||
        count > UINT32_MAX) {
        snprintf(error, size,
                 "'%.64s' is no limit of a calendar; for example 'calendar 100/month "
                 "Europe/Berlin', with a count from 1 to 4294967295",
                 text ? text : "");
        return -EINVAL;
    }
    if (calendars_parse_per(end + 1, &per, error, size) || refuse_rest(words, error, size))
        return -EINVAL;
    const int result = calendars_make(zone ? zone : "UTC", per, &calendar, error, size);
    if (result == -ENOMEM)
        snprintf(error, size, "no memory for a calendar");
    if (result)
        return -EINVAL;
    calendar_compile(calendar, count, ret_limit);
    *ret_calendar = calendar;
    return 0;
}

int config_compile_rule_text(const char *text, struct limit *ret_limit,
                             struct calendar **ret_calendar, char *error, size_t size)
{
    struct words words = {.count = 0};
    struct limit_spec spec;
    int result;

    if (split(text, &words) == 0 && skip_word(&words, "calendar")) {
        result = parse_calendar(&words, ret_limit, ret_calendar, error, size);
        if (result && size)
            report_make_printable(error);
        return result;
    }
    result = config_parse_rule_text(text, &spec, error, size);
    if (result == 0) {
        limit_compile(&spec, ret_limit);
        *ret_calendar = NULL;
    }
    return result;
}
