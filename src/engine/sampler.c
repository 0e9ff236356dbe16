#include "engine/sampler.h"

#include <sched.h>

#include "engine/engine.h"

#define COPY_TRIES 1000u
#define MAX_HALVINGS 64u

void sampler_init(struct sampler *sampler, uint64_t seed, uint64_t now_ns)
{
    sampling_init(&sampler->sampling, SAMPLER_PER_LOOK, seed, now_ns);
    atomic_flag_clear(&sampler->is_held);
    sampler->until_ns = now_ns;
    sampler->halve_at_ns = now_ns + SAMPLER_HALF_LIFE_NS;
    sampler->view.window_ns = 0;
    sketch_init(&sampler->view.hot);
    sketch_init(&sampler->view.denied);
}

/* Brings the fading up to now. */
static void age(struct sampler *sampler, uint64_t now_ns)
{
    struct sampler_view *view = &sampler->view;
    if (now_ns <= sampler->until_ns)
        return;
    for (unsigned i = 0; now_ns >= sampler->halve_at_ns && i < MAX_HALVINGS; i++) {
        view->window_ns = (view->window_ns + sampler->halve_at_ns - sampler->until_ns) / 2;
        sketch_halve(&view->hot);
        sketch_halve(&view->denied);
        sampler->until_ns = sampler->halve_at_ns;
        sampler->halve_at_ns += SAMPLER_HALF_LIFE_NS;
    }
    if (now_ns >= sampler->halve_at_ns) /* nothing is left of the past */
        sampler->halve_at_ns = now_ns + SAMPLER_HALF_LIFE_NS;
    view->window_ns += now_ns - sampler->until_ns;
    sampler->until_ns = now_ns;
}

static void add(struct sampler *sampler, const struct check *check, const struct answer *answer,
                uint64_t weight)
{
    const bool charges = check->operation == OPERATION_CHECK ||
                         check->operation == OPERATION_AT_MOST ||
                         check->operation == OPERATION_ACQUIRE;
    if (!charges || answer->status != METE_STATUS_OK || answer->flags & METE_VERDICT_NOT_CHARGED)
        return;
    const struct sketch_subject subject = {
        .key_low = check->key.low,
        .key_high = check->key.high,
        .tenant = check->tenant->id,
        .rule = check->rule ? check->rule->id : check->rule_id,
        .subject = check->subject,
        .subject_len = check->subject_len,
    };
    sketch_add(&sampler->view.hot, &subject, weight);
    if (!(answer->flags & METE_VERDICT_ALLOW))
        sketch_add(&sampler->view.denied, &subject, weight);
}

void sampler_watch(struct sampler *sampler, const struct check *checks, uint32_t count,
                   const struct answer *answers, uint64_t now_ns)
{
    struct sampling *sampling = &sampler->sampling;
    /* acquire and release: with sampler_copy(), so that each sees the other's work whole */
    const bool is_ours =
        !atomic_flag_test_and_set_explicit(&sampler->is_held, memory_order_acquire);
    if (is_ours)
        age(sampler, now_ns);
    for (uint32_t at = 0; sampling_is_due(sampling, count - at); at++) {
        uint64_t weight;
        at += (uint32_t)sampling_take(sampling, now_ns, &weight);
        if (is_ours)
            add(sampler, &checks[at], &answers[at], weight);
    }
    if (is_ours)
        atomic_flag_clear_explicit(&sampler->is_held, memory_order_release);
}

bool sampler_copy(struct sampler *sampler, uint64_t now_ns, struct sampler_view *ret_view)
{
    for (unsigned i = 0; atomic_flag_test_and_set_explicit(&sampler->is_held, memory_order_acquire);
         i++) {
        if (i == COPY_TRIES)
            return false;
        sched_yield();
    }
    age(sampler, now_ns);
    *ret_view = sampler->view;
    atomic_flag_clear_explicit(&sampler->is_held, memory_order_release);
    return true;
}
