/* What options of `mete bench` fit together and what does not; defaults that depend on others. */
#include "cmd/bench.h"
#include "cmd/bench_flow.h"
#include "cmd/cmd.h"

#define MOST_RESET 10000000u /* some seconds */

/* Room for what a flow may have in flight until it is given up; a flow without room is late, and
 * its slip says so. */
static unsigned open_room(const struct bench_options *options)
{
    const double tries = options->retries + 1;
    const double seconds =
        tries * ((double)options->timeout_ns + (double)options->backoff_ns * tries) / 1e9 +
        2.0 * BURST_PERIOD_NS / 1e9;
    const double wanted =
        64 + 1.5 * seconds * (double)options->rate / options->batch / options->flows;
    const double stride = METE_WIRE_MAX_BYTES;
    const double most = FLOW_MAX_BYTES / (options->batch > 1 ? stride : 128) / options->flows;
    const double room = wanted < most ? wanted : most;
    return room < FLOW_SLOTS ? (unsigned)room : FLOW_SLOTS;
}

void bench_options_set_rate(struct bench_options *options, uint64_t rate)
{
    options->rate = rate;
    options->outstanding = open_room(options);
}

/* Runs in a row. */
static int fit_series(struct bench_options *options)
{
    const bool is_search = options->goal.text != NULL;
    if (is_search && (options->concurrency_count || options->requests))
        return cmd_fail("bench", "--find-rate excludes --concurrency and --requests");
    if (is_search && options->outstanding)
        return cmd_fail("bench", "--outstanding and --find-rate exclude each other");
    if (is_search && !options->duration_ns)
        options->duration_ns = 1000000000;
    if (options->concurrency_count && (options->rate || options->outstanding))
        return cmd_fail("bench", "--concurrency excludes --rate and --outstanding");
    for (unsigned i = 0; i < options->concurrency_count; i++) {
        const unsigned number = options->concurrency[i];
        if (number > options->flows &&
            (number % options->flows || number / options->flows > BENCH_MAX_OUTSTANDING))
            return cmd_fail("bench",
                            "--concurrency: %u over --flows %u is not a whole number up to %u",
                            number, options->flows, BENCH_MAX_OUTSTANDING);
        if (number < options->threads)
            return cmd_fail("bench", "--concurrency: %u is less than --threads", number);
    }
    return 0;
}

static int fit_loop(struct bench_options *options)
{
    if (options->goal.text && options->schedule == SCHEDULE_RAMP)
        return cmd_fail("bench", "--find-rate needs a schedule that stays: not ramp");
    if (!options->rate && options->goal.text)
        return 0;
    if (!options->rate) {
        if (options->has_schedule)
            return cmd_fail("bench", "--schedule belongs to --rate");
        if (!options->outstanding)
            options->outstanding = 32;
        return 0;
    }
    if (options->outstanding)
        return cmd_fail("bench", "--outstanding and --rate exclude each other: in an open loop as "
                                 "many are in flight as the server leaves unanswered");
    if (options->schedule == SCHEDULE_RAMP && !options->duration_ns && !options->requests)
        return cmd_fail("bench", "--schedule ramp needs --seconds or --requests: where it ends");
    options->outstanding = open_room(options);
    return 0;
}

/* What is done before the load, and again during it. */
static int fit_first(struct bench_options *options)
{
    if (options->secret && options->echo)
        return cmd_fail("bench", "--secret-file needs a server that verifies, not --echo");
    if (options->reset && options->echo)
        return cmd_fail("bench", "--reset needs a server that decides, not --echo");
    if (options->reset && options->keys > MOST_RESET)
        return cmd_fail("bench", "--reset: at most %u --keys", MOST_RESET);
    if (options->reset && options->verify) /* the subjects as they are */
        options->no_salt = true;
    if (options->retries && options->echo)
        return cmd_fail("bench", "--retries needs a server that recognises repeats, not --echo");
    if (options->backoff_ns && !options->retries)
        return cmd_fail("bench", "--backoff belongs to --retries");
    if (!options->backoff_ns)
        options->backoff_ns = 1000000;
    return 0;
}

/* What is of datagrams only. */
static int fit_door(struct bench_options *options)
{
    const struct {
        bool is_given;
        const char *name;
    } others[] = {
        {options->batch > 1, "--batch"},
        {options->join, "--join"},
        {options->echo, "--echo"},
        {options->retries, "--retries"},
        {options->reset, "--reset"},
        {options->no_salt, "--no-salt"},
        {options->no_tag_check, "--no-tag-check"},
    };
    if (!options->server)
        options->server = options->door ? options->door->server : "127.0.0.1:6383";
    if (!options->door)
        return options->ask ? cmd_fail("bench", "--ask belongs to --door") : 0;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (others[i].is_given)
            return cmd_fail("bench", "%s is of datagrams, not of --door", others[i].name);
    if (options->verify && options->ask)
        return cmd_fail("bench", "--verify needs verdicts of a rule, not of --ask");
    if (options->verify && limit_is_wall(&options->limit))
        return cmd_fail("bench", "--verify: over a door the server's wall clock is not known, so "
                                 "no windows there");
    return 0;
}

int bench_options_fit(struct bench_options *options)
{
    int result = fit_door(options);
    if (result != 0)
        return result;
    if (options->keys && options->subjects)
        return cmd_fail("bench", "--keys and --subjects exclude each other");
    if ((options->zipf > 0 || options->hot_part > 0) && options->subjects)
        return cmd_fail("bench", "--zipf and --hot-key are of made keys, not of --subjects");
    if (options->unique && (options->keys || options->subjects || options->zipf > 0 ||
                            options->hot_part > 0 || options->reset))
        return cmd_fail("bench", "--unique excludes --keys, --subjects, --zipf, --hot-key and "
                                 "--reset");
    if (options->unique)
        options->keys = UINT32_MAX;
    if (options->verify && options->echo)
        return cmd_fail("bench", "--verify needs verdicts, and --echo gives none");
    if (options->no_salt && !options->verify)
        return cmd_fail("bench", "--no-salt belongs to --verify");
    if (options->threads > options->flows)
        return cmd_fail("bench", "--threads: more than --flows (%u)", options->flows);
    if (options->verify && !options->unique && options->keys > 1000000)
        return cmd_fail("bench", "--keys: at most 1000000 with --verify");
    if (!options->keys && !options->subjects)
        options->keys = options->verify ? 10000 : 1000000;
    result = fit_first(options);
    if (result == 0)
        result = fit_series(options);
    if (result != 0)
        return result;
    if (!options->duration_ns && !options->requests && !options->subjects)
        options->duration_ns = 5000000000ull;
    return fit_loop(options);
}
