/* The report of `mete replay` for people: at most 100 columns, nothing but ASCII of its own. */
#include "cmd/replay.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cmd/printable.h"

#define SECOND_NS 1000000000ull
#define BAR_COLUMNS 40u
#define SUBJECT_COLUMNS 52

static const char *const WAIT_NAMES[REPLAY_WAIT_ROWS] = {
    "up to 1 ms",   "up to 10 ms", "up to 100 ms", "up to 1 s", "up to 10 s", "up to 1 min",
    "up to 10 min", "up to 1 h",   "up to 1 day",  "longer",    "never",
};

#define NUMBER_SIZE 32

/* 1234567 as 1,234,567 in buffer. */
static const char *grouped(uint64_t number, char buffer[NUMBER_SIZE])
{
    char *at = buffer + NUMBER_SIZE - 1;
    *at = '\0';
    for (unsigned digits = 0; digits == 0 || number > 0; digits++, number /= 10) {
        if (digits > 0 && digits % 3 == 0)
            *--at = ',';
        *--at = (char)('0' + number % 10);
    }
    return at;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void print_instant(uint64_t at_ns, FILE *out)
{
    const time_t seconds = (time_t)(at_ns / SECOND_NS);
    struct tm parts;
    char text[32];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
    fputs(text, out);
}

static void print_duration(uint64_t ns, FILE *out)
{
    const uint64_t s = ns / SECOND_NS;
    if (s >= 86400)
        fprintf(out, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        fprintf(out, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        fprintf(out, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else
        fprintf(out, "%.3g s", (double)ns / (double)SECOND_NS);
}

static void print_log(const struct replay_report *report, FILE *out)
{
    const struct replay_log *log = report->log;
    const uint64_t first_ns = log->requests[0].at_ns;
    const uint64_t last_ns = log->requests[log->request_count - 1].at_ns;
    char number[NUMBER_SIZE];

    fprintf(out, "%s: %s requests", report->path, grouped(log->request_count, number));
    fprintf(out, " of %s subjects (by %s)\n  from ", grouped(log->subjects.count, number),
            report->by);
    print_instant(first_ns, out);
    fprintf(out, " to ");
    print_instant(last_ns, out);
    fprintf(out, " UTC, ");
    print_duration(last_ns - first_ns, out);
    fputc('\n', out);
    if (log->out_of_order > 0)
        fprintf(out, "  %s lines step back in time: sorted by time\n",
                grouped(log->out_of_order, number));
    if (log->has_whole_seconds)
        fprintf(out,
                "  the log has whole seconds only: what came within one counts as one instant\n");
    if (log->unparsed > 0) {
        fprintf(out, "  %s of", grouped(log->unparsed, number));
        fprintf(out, " %s lines left out, the first is line %" PRIu64 ":\n    %s\n    %.90s\n",
                grouped(log->lines, number), log->first_unparsed.line, log->first_unparsed.reason,
                log->first_unparsed.text);
    }
}

static void print_hardest(const struct replay_report *report, const struct replay_outcome *outcome,
                          FILE *out)
{
    const struct subjects *subjects = &report->log->subjects;

    if (outcome->hardest_count == 0)
        return;
    fprintf(out, "\n  %-*s %12s %12s %8s\n", SUBJECT_COLUMNS, "hit hardest", "requests", "denied",
            "share");
    for (uint32_t i = 0; i < outcome->hardest_count; i++) {
        const struct replay_hit *hit = &outcome->hardest[i];
        char name[SUBJECT_COLUMNS + 1];
        char requests[NUMBER_SIZE], denied[NUMBER_SIZE];
        size_t len;
        const char *text = subjects_name(subjects, hit->subject, &len);
        printable_format(text, len, name, sizeof(name));
        fprintf(out, "  %-*s %12s %12s %6.1f %%\n", SUBJECT_COLUMNS, name,
                grouped(hit->requests, requests), grouped(hit->denied, denied),
                percent(hit->denied, hit->requests));
    }
}

/* The rows from the first to the last that has any, with bars in proportion. */
static void print_waits(const struct replay_rule *rule, FILE *out)
{
    const uint64_t *waits = rule->outcome.waits;
    unsigned first = REPLAY_WAIT_ROWS, last = 0;
    uint64_t most = 0;

    for (unsigned row = 0; row < REPLAY_WAIT_ROWS; row++) {
        if (waits[row] == 0)
            continue;
        first = row < first ? row : first;
        last = row;
        most = waits[row] > most ? waits[row] : most;
    }
    if (most == 0)
        return;
    fprintf(out, "\n  %s\n",
            rule->limit.algorithm == ALGORITHM_LEAKY_QUEUE ? "delays of the delayed"
                                                           : "waits of the denied");
    for (unsigned row = first; row <= last; row++) {
        char number[NUMBER_SIZE];
        fprintf(out, "  %-14s %12s", WAIT_NAMES[row], grouped(waits[row], number));
        const unsigned columns =
            (unsigned)((double)waits[row] * BAR_COLUMNS / (double)most + 0.999);
        if (columns > 0)
            fprintf(out, "  %.*s", (int)columns, "########################################");
        fputc('\n', out);
    }
}
_Static_assert(BAR_COLUMNS == sizeof("########################################") - 1, "a full bar");

void replay_print_text(const struct replay_report *report, FILE *out)
{
    print_log(report, out);
    for (unsigned i = 0; i < report->rule_count; i++) {
        const struct replay_rule *rule = &report->rules[i];
        const uint64_t requests = report->log->request_count;
        char number[NUMBER_SIZE];

        fprintf(out, "\n%s\n  requests %s", rule->text, grouped(requests, number));
        fprintf(out, "   would be denied %s (%.2f %%)", grouped(rule->outcome.denied, number),
                percent(rule->outcome.denied, requests));
        if (rule->limit.algorithm == ALGORITHM_LEAKY_QUEUE)
            fprintf(out, "   delayed %s", grouped(rule->outcome.delayed, number));
        fputc('\n', out);
        print_hardest(report, &rule->outcome, out);
        print_waits(rule, out);
    }
}
