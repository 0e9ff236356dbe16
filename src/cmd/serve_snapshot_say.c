/* What the snapshots say of themselves: lines of the log, answers, `mete stats`, Prometheus. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cmd/serve_snapshot.h"
#include "cmd/serve_snapshot_parts.h"
#include "cmd/server.h"
#include "doors/http_write.h"
#include "obs/log.h"

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / 1048576;
}

void serve_say_cold(const struct serve_snapshot *snapshot, const char *why)
{
    log_event(LOG_WARNING, "snapshot", "table.snapshot: %s %s; starting with an empty table",
              snapshot->file.path, why);
}

/* What was left out, or nothing. */
static void format_left_out(const struct snapshot_loaded *loaded, char *text, size_t size)
{
    const struct {
        uint64_t count;
        const char *what;
    } parts[] = {
        {loaded->rested, "at rest by now"},
        {loaded->gone, "of rules that are gone"},
        {loaded->changed, "of rules that changed their kind"},
        {loaded->full, "without room"},
        {loaded->implausible, "that cannot be"},
    };
    size_t len = 0;

    text[0] = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].count && len < size)
            len += (size_t)snprintf(text + len, size - len, "%s%" PRIu64 " %s",
                                    len ? ", " : "; left out: ", parts[i].count, parts[i].what);
}

void serve_say_loaded(const struct serve_snapshot *snapshot, const struct snapshot_loaded *loaded,
                      uint64_t took_ns)
{
    static const char *const ways[] = {
        "in the same run of the machine", "before a reboot",
        "by wall time, as nobody knows whether the machine was rebooted"};
    char left_out[256];

    format_left_out(loaded, left_out, sizeof(left_out));
    log_event(LOG_INFO, "snapshot",
              "table.snapshot: %s carried over, written %.1f s ago %s: %" PRIu64
              " entries and %" PRIu64 " leases in %.3f s%s",
              snapshot->file.path, seconds(loaded->elapsed_ns), ways[loaded->way], loaded->entries,
              loaded->leases, seconds(took_ns), left_out);
    if (loaded->went_back_ns)
        log_event(LOG_WARNING, "snapshot",
                  "table.snapshot: the clock is %.1f s behind the one it was written by; taken as "
                  "if no time had passed since",
                  seconds(loaded->went_back_ns));
    if (loaded->damaged_blocks)
        log_event(LOG_WARNING, "snapshot",
                  "table.snapshot: %s has %" PRIu64
                  " damaged blocks; what stood in them (at most 2046 subjects each) starts fresh",
                  snapshot->file.path, loaded->damaged_blocks);
}

/* What went wrong, and what to look at. */
static const char *failure_text(int result)
{
    switch (-result) {
    case ENOSPC:
        return "no space is left on its disk";
    case EDQUOT:
        return "the quota of its disk is used up";
    case EROFS:
        return "its file system is read-only";
    case ENOENT:
        return "its folder is gone";
    case EBUSY:
        return "another process is writing it";
    case EACCES:
    case EPERM:
        return "the daemon's user may not write there";
    case EAGAIN:
        return "rules came and went again and again while it was written";
    case ECANCELED:
        return "the daemon is stopping";
    default:
        return strerror(-result);
    }
}

static double age_s(const struct serve_snapshot *snapshot, const struct snapshot_state *state)
{
    const uint64_t since_ns =
        state->good_boot_ns ? state->good_boot_ns : snapshot->server->started_boot_ns;

    return seconds(clock_boot_ns() - since_ns + state->good_age_ns);
}

void serve_format_saved(const struct serve_snapshot *snapshot, const struct snapshot_state *state,
                        char *text, size_t size)
{
    if (!state->result)
        snprintf(text, size, "%s: %" PRIu64 " entries, %" PRIu64 " leases, %.1f MiB in %.3f s",
                 snapshot->file.path, state->report.entries, state->report.leases,
                 mebibytes(state->report.bytes), seconds(state->duration_ns));
    else if (state->good_boot_ns)
        snprintf(text, size, "%s was not written: %s; the one of %.0f s ago stays",
                 snapshot->file.path, failure_text(state->result), age_s(snapshot, state));
    else
        snprintf(text, size, "%s was not written: %s", snapshot->file.path,
                 failure_text(state->result));
}

/* Every failure, what was asked for, and the first that succeeds, at all or again. */
void serve_say_saved(struct serve_snapshot *snapshot, const struct snapshot_state *state,
                     bool was_wanted)
{
    char text[1024];

    if (state->result == -ECANCELED)
        return;
    serve_format_saved(snapshot, state, text, sizeof(text));
    if (state->result)
        log_event(LOG_WARNING, "snapshot", "table.snapshot: %s; the next try in %.0f s", text,
                  seconds(snapshot->every_ns));
    else if (was_wanted || !snapshot->has_said || atomic_load(&snapshot->stop))
        log_event(LOG_INFO, "snapshot", "table.snapshot: %s", text);
    snapshot->has_said = state->result == 0;
}

void serve_print_snapshot_json(const struct server *server, FILE *out)
{
    struct serve_snapshot *snapshot = server->snapshot;

    if (!snapshot)
        return;
    const struct snapshot_state state = serve_look_at_snapshot(snapshot);
    fprintf(out,
            ",\"snapshot\":{\"age_s\":%.3f,\"duration_s\":%.6f,\"bytes\":%" PRIu64
            ",\"entries\":%" PRIu64 ",\"leases\":%" PRIu64 ",\"saved\":%" PRIu64
            ",\"failed\":%" PRIu64 "}",
            age_s(snapshot, &state), seconds(state.duration_ns), state.report.bytes,
            state.report.entries, state.report.leases, state.saved_count, state.failed_count);
}

void serve_print_snapshot_text(const struct server *server, FILE *out)
{
    struct serve_snapshot *snapshot = server->snapshot;
    char text[1024];

    if (!snapshot)
        return;
    const struct snapshot_state state = serve_look_at_snapshot(snapshot);
    serve_format_saved(snapshot, &state, text, sizeof(text));
    if (state.finished)
        fprintf(out, "\nsnapshot: %s\n", text);
    else
        fprintf(out, "\nsnapshot: %s\n", snapshot->file.path);
    fprintf(out, "age %.1f s, written %" PRIu64 " times, failed %" PRIu64 " times\n",
            age_s(snapshot, &state), state.saved_count, state.failed_count);
}

void serve_print_snapshot_metrics(const struct server *server, struct http_out *out)
{
    struct serve_snapshot *snapshot = server->snapshot;

    if (!snapshot)
        return;
    const struct snapshot_state state = serve_look_at_snapshot(snapshot);
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"age_seconds", "Age of what table.snapshot holds; since the start, if that is not known.",
         age_s(snapshot, &state)},
        {"interval_seconds", "How often one is written.", seconds(snapshot->every_ns)},
        {"duration_seconds", "How long the last one took.", seconds(state.duration_ns)},
        {"bytes", "Size of the last one.", (double)state.report.bytes},
        {"entries", "Entries of the last one.", (double)state.report.entries},
    };
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
        http_print(out,
                   "# HELP mete_snapshot_%s %s\n# TYPE mete_snapshot_%s gauge\n"
                   "mete_snapshot_%s %.15g\n",
                   gauges[i].name, gauges[i].help, gauges[i].name, gauges[i].name, gauges[i].value);
    http_print(out,
               "# HELP mete_snapshots_total Snapshots by result.\n"
               "# TYPE mete_snapshots_total counter\n"
               "mete_snapshots_total{result=\"saved\"} %" PRIu64
               "\nmete_snapshots_total{result=\"failed\"} %" PRIu64 "\n",
               state.saved_count, state.failed_count);
}
