/* The report of `mete replay` as one JSON object. Every field is always there but first_unparsed's,
 * which is null if all lines were understood; bounds without a number are null. */
#include "cmd/replay.h"

#include <inttypes.h>
#include <string.h>

#include "cmd/printable.h"

static void print_string(const char *text, FILE *out)
{
    printable_print_json(text, strlen(text), out);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part / (double)whole;
}

static void print_log(const struct replay_report *report, FILE *out)
{
    const struct replay_log *log = report->log;

    fprintf(out, "{\n  \"log\": ");
    print_string(report->path, out);
    fprintf(out, ",\n  \"by\": ");
    print_string(report->by, out);
    fprintf(out, ",\n  \"lines\": %" PRIu64 ",\n  \"unparsed\": %" PRIu64, log->lines,
            log->unparsed);
    fprintf(out, ",\n  \"first_unparsed\": ");
    if (log->unparsed == 0) {
        fprintf(out, "null");
    } else {
        fprintf(out, "{\"line\": %" PRIu64 ", \"reason\": ", log->first_unparsed.line);
        print_string(log->first_unparsed.reason, out);
        fprintf(out, ", \"text\": ");
        print_string(log->first_unparsed.text, out);
        fputc('}', out);
    }
    fprintf(out, ",\n  \"out_of_order\": %" PRIu64 ",\n  \"subjects\": %" PRIu32, log->out_of_order,
            log->subjects.count);
    fprintf(out, ",\n  \"first_ns\": %" PRIu64 ",\n  \"last_ns\": %" PRIu64, log->requests[0].at_ns,
            log->requests[log->request_count - 1].at_ns);
}

static void print_rule(const struct replay_report *report, const struct replay_rule *rule,
                       FILE *out)
{
    const struct replay_outcome *outcome = &rule->outcome;
    const uint64_t requests = report->log->request_count;

    fprintf(out, "    {\"rule\": ");
    print_string(rule->text, out);
    fprintf(out,
            ",\n     \"requests\": %" PRIu64 ", \"denied\": %" PRIu64
            ", \"share\": %.6f, \"delayed\": %" PRIu64 ",\n     \"hardest\": [",
            requests, outcome->denied, share(outcome->denied, requests), outcome->delayed);
    for (uint32_t i = 0; i < outcome->hardest_count; i++) {
        const struct replay_hit *hit = &outcome->hardest[i];
        size_t len;
        const char *name = subjects_name(&report->log->subjects, hit->subject, &len);
        fprintf(out, "%s\n       {\"subject\": ", i > 0 ? "," : "");
        printable_print_json(name, len, out);
        fprintf(out, ", \"requests\": %" PRIu64 ", \"denied\": %" PRIu64 "}", hit->requests,
                hit->denied);
    }
    fprintf(out, "],\n     \"waits\": [");
    for (unsigned row = 0; row < REPLAY_WAIT_ROWS; row++) {
        fprintf(out, "%s\n       {\"up_to_ns\": ", row > 0 ? "," : "");
        if (replay_wait_bounds_ns[row] < NEVER - 1)
            fprintf(out, "%" PRIu64, replay_wait_bounds_ns[row]);
        else
            fprintf(out, "null");
        fprintf(out, ", \"never\": %s, \"count\": %" PRIu64 "}",
                replay_wait_bounds_ns[row] == NEVER ? "true" : "false", outcome->waits[row]);
    }
    fprintf(out, "]}");
}

void replay_print_json(const struct replay_report *report, FILE *out)
{
    print_log(report, out);
    fprintf(out, ",\n  \"rules\": [\n");
    for (unsigned i = 0; i < report->rule_count; i++) {
        print_rule(report, &report->rules[i], out);
        fprintf(out, "%s\n", i + 1 < report->rule_count ? "," : "");
    }
    fprintf(out, "  ]\n}\n");
}
