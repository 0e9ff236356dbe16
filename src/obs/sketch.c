#include "obs/sketch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void sketch_init(struct sketch *sketch)
{
    memset(sketch, 0, sizeof(*sketch));
}

static uint64_t mark_of(const struct sketch_subject *subject)
{
    const uint64_t rule = (uint64_t)subject->tenant << 32 | subject->rule;
    return subject->key_low ^ subject->key_high ^ rule * 0x9E3779B97F4A7C15ull;
}

static bool is_same(const struct sketch_item *item, const struct sketch_subject *subject)
{
    return item->key_low == subject->key_low && item->key_high == subject->key_high &&
           item->tenant == subject->tenant && item->rule == subject->rule;
}

static uint32_t find(const struct sketch *sketch, const struct sketch_subject *subject,
                     uint64_t mark)
{
    uint32_t at = 0;
    while (at < sketch->used && !(sketch->mark[at] == mark && is_same(&sketch->items[at], subject)))
        at++;
    return at;
}

static uint32_t find_smallest(const struct sketch *sketch)
{
    uint32_t smallest = 0;
    for (uint32_t i = 1; i < sketch->used; i++)
        if (sketch->count[i] < sketch->count[smallest])
            smallest = i;
    return smallest;
}

static void set_item(struct sketch_item *item, const struct sketch_subject *subject)
{
    item->key_low = subject->key_low;
    item->key_high = subject->key_high;
    item->tenant = subject->tenant;
    item->rule = subject->rule;
    item->subject_len = 0;
}

/* A subject may come as a key first and with its name later. */
static void set_name(struct sketch_item *item, const struct sketch_subject *subject)
{
    if (!subject->subject || item->subject_len)
        return;
    const uint32_t len = subject->subject_len;
    item->subject_len = len < SKETCH_SUBJECT ? len : SKETCH_SUBJECT;
    memcpy(item->subject, subject->subject, item->subject_len);
}

void sketch_add(struct sketch *sketch, const struct sketch_subject *subject, uint64_t weight)
{
    const uint64_t mark = mark_of(subject);
    uint32_t at = find(sketch, subject, mark);
    if (at == sketch->used) {
        if (sketch->used < SKETCH_ITEMS) {
            sketch->used++;
            sketch->count[at] = sketch->error[at] = 0;
        } else {
            at = find_smallest(sketch);
            sketch->error[at] = sketch->count[at];
        }
        sketch->mark[at] = mark;
        set_item(&sketch->items[at], subject);
    }
    sketch->count[at] += weight * SKETCH_ONE;
    sketch->total += weight * SKETCH_ONE;
    set_name(&sketch->items[at], subject);
}

static void drop(struct sketch *sketch, uint32_t at)
{
    const uint32_t last = --sketch->used;
    sketch->mark[at] = sketch->mark[last];
    sketch->count[at] = sketch->count[last];
    sketch->error[at] = sketch->error[last];
    sketch->items[at] = sketch->items[last];
}

/* Rounds so that the lower bound is not above and the upper bound not below half of the truth. */
void sketch_halve(struct sketch *sketch)
{
    sketch->total = (sketch->total + 1) / 2;
    for (uint32_t i = 0; i < sketch->used;) {
        const uint64_t low = (sketch->count[i] - sketch->error[i]) / 2;
        sketch->count[i] = (sketch->count[i] + 1) / 2;
        sketch->error[i] = sketch->count[i] - low;
        if (sketch->count[i] < SKETCH_ONE / 2)
            drop(sketch, i);
        else
            i++;
    }
}

uint64_t sketch_smallest(const struct sketch *sketch)
{
    return sketch->used < SKETCH_ITEMS ? 0 : sketch->count[find_smallest(sketch)];
}

static int compare_tops(const void *a, const void *b)
{
    const struct sketch_top *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->item.key_low < y->item.key_low ? -1 : x->item.key_low > y->item.key_low;
}

/* Item i of sketch s, with what the others have or may have of it. False: an earlier one of them
 * lists it, so it is told already. */
static bool sum_item(const struct sketch *sketches, uint32_t count, uint32_t s, uint32_t i,
                     struct sketch_top *ret_top)
{
    const struct sketch_item *item = &sketches[s].items[i];
    const struct sketch_subject subject = {
        .key_low = item->key_low,
        .key_high = item->key_high,
        .tenant = item->tenant,
        .rule = item->rule,
    };
    *ret_top = (struct sketch_top){.item = *item};
    for (uint32_t other = 0; other < count; other++) {
        const uint32_t at = other == s ? i : find(&sketches[other], &subject, sketches[s].mark[i]);
        if (at < sketches[other].used) {
            if (other < s)
                return false;
            ret_top->count += sketches[other].count[at];
            ret_top->error += sketches[other].error[at];
            if (!ret_top->item.subject_len)
                ret_top->item = sketches[other].items[at];
        } else {
            const uint64_t smallest = sketch_smallest(&sketches[other]);
            ret_top->count += smallest;
            ret_top->error += smallest;
        }
    }
    return true;
}

uint32_t sketch_merge_top(const struct sketch *sketches, uint32_t count, struct sketch_top *room,
                          uint32_t most)
{
    uint32_t found = 0;
    for (uint32_t s = 0; s < count; s++)
        for (uint32_t i = 0; i < sketches[s].used; i++)
            found += sum_item(sketches, count, s, i, &room[found]);
    qsort(room, found, sizeof(*room), compare_tops);
    return found < most ? found : most;
}
