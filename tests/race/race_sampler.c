/* One thread judges and samples, another copies: each copy is whole and between what was before it
 * and after it, and the thread that judges is never held up. Under the thread sanitizer the
 * histogram of latencies is read meanwhile, too.
 *
 *   race_sampler [THREADS] [SECONDS]      readers; 2 1 */
#include <inttypes.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "obs/latency.h"
#include "race/race.h"

#define CHECKS 8u
#define MOST_READERS 16u

static struct sampler sampler;
static struct latency latency;
static atomic_bool is_over;
static _Atomic uint64_t judged; /* batches */

static void *judge(void *argument)
{
    static struct tenant tenant = {.name = "t", .id = 3};
    static struct rule rule = {.name = "r", .id = 4};
    struct check checks[CHECKS];
    struct answer answers[CHECKS];
    uint64_t now_ns = 1;
    (void)argument;
    memset(checks, 0, sizeof(checks));
    memset(answers, 0, sizeof(answers));
    for (unsigned i = 0; i < CHECKS; i++) {
        checks[i].tenant = &tenant;
        checks[i].rule = &rule;
        checks[i].operation = OPERATION_CHECK;
        checks[i].subject = "abcdefgh";
        checks[i].subject_len = i + 1;
        checks[i].key.low = checks[i].key.high = i + 1;
        answers[i].flags = i % 2 ? METE_VERDICT_ALLOW : 0;
    }
    while (!atomic_load(&is_over)) {
        now_ns += 1000000; /* 8,000 checks in a second of its own: some are taken, some left out */
        if (sampling_is_due(&sampler.sampling, CHECKS))
            sampler_watch(&sampler, checks, CHECKS, answers, now_ns);
        latency_record(&latency, now_ns % 100000, 1);
        atomic_fetch_add(&judged, 1);
    }
    return NULL;
}

static const char *check_view(const struct sampler_view *view)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < view->hot.used; i++) {
        const struct sketch_item *item = &view->hot.items[i];
        if (item->key_low != item->key_high || item->subject_len != item->key_low ||
            memcmp(item->subject, "abcdefgh", item->subject_len) != 0)
            return "an item is of two";
        sum += view->hot.count[i];
    }
    /* halving rounds each up by at most 1/256 in all, and drops what is below a half */
    if (sum > view->hot.total + CHECKS || sum + CHECKS * SKETCH_ONE < view->hot.total)
        return "the counts are not those of the total";
    if (view->denied.used > CHECKS / 2 || view->hot.used > CHECKS)
        return "more than there are";
    return NULL;
}

static void *read_all(void *argument)
{
    uint64_t *copies = argument;
    struct sampler_view view;
    while (!atomic_load(&is_over)) {
        struct latency_sum sum = {.sum_ns = 0};
        latency_add(&sum, &latency);
        if (!sampler_copy(&sampler, 0, &view))
            continue;
        const char *fault = check_view(&view);
        if (fault) {
            fprintf(stderr, "race_sampler: %s\n", fault);
            exit(1);
        }
        ++*copies;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct race_options options = {.threads = 2, .fewest = 1, .most = MOST_READERS, .seconds = 1};
    struct race_threads judging, reading;
    uint64_t copies[MOST_READERS] = {0}, all = 0;

    if (!race_options_read(&options, argc, argv))
        return 2;
    sampler_init(&sampler, 5, 0);
    uint64_t end_ns = clock_boot_ns() + (uint64_t)(options.seconds * 1e9);
    race_start(&judging, 1, &sampler, sizeof sampler, judge);
    race_start(&reading, options.threads, copies, sizeof *copies, read_all);
    while (clock_boot_ns() < end_ns || atomic_load(&judged) < 1000)
        sched_yield();
    atomic_store(&is_over, true);
    race_join(&judging);
    race_join(&reading);
    for (unsigned i = 0; i < options.threads; i++)
        all += copies[i];
    printf("race_sampler: %u readers, %" PRIu64 " batches judged, %" PRIu64 " copies\n",
           options.threads, atomic_load(&judged), all);
    return 0;
}
