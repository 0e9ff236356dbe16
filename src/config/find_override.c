/* Which override of a rule a subject has, on the hot path.
 *
 * Whole subjects: open addressing over the 128-bit key, which is a hash already, with at least four
 * slots for each. Prefixes: sorted by their bytes. The last one that is not behind the subject is a
 * prefix of it or shares some bytes with it; every prefix of the subject is this one or one of its
 * own prefixes (what lies between a prefix and the subject starts with that prefix), so following
 * those from long to short finds the longest. The first eight bytes stand in the array itself: most
 * steps of the search compare two numbers. No allocation, no lock; any number of threads may look
 * up. */
#include "config/find.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/key.h"

#define NO_PARENT UINT32_MAX

struct override_slot {
    struct key key;
    const struct rule *rule; /* NULL: empty */
};

struct override_prefix {
    uint64_t head; /* the first eight bytes as a big-endian number, zeroes behind the end */
    const char *text;
    uint32_t len;
    uint32_t parent; /* the longest other one that this one starts with */
    const struct rule *rule;
};

static uint64_t head_of(const char *text, size_t len)
{
    uint64_t head = 0;
    memcpy(&head, text, len < sizeof(head) ? len : sizeof(head));
    return be64toh(head);
}

static uint32_t common_len(const char *a, const char *b, size_t len)
{
    uint32_t i = 0;
    while (i < len && a[i] == b[i])
        i++;
    return i;
}

/* Does the prefix stand at or before the subject in the order of bytes? */
static bool is_not_behind(const struct override_prefix *prefix, uint64_t head, const char *subject,
                          size_t len)
{
    if (prefix->head != head)
        return prefix->head < head;
    const int order = memcmp(prefix->text, subject, prefix->len < len ? prefix->len : len);
    return order ? order < 0 : prefix->len <= len;
}

/* The longest of the first count prefixes that the subject starts with, or NO_PARENT. */
static uint32_t find_prefix(const struct override_prefix *prefixes, uint32_t count,
                            const char *subject, size_t len)
{
    const uint64_t head = head_of(subject, len);
    uint32_t from = 0, to = count;
    while (from < to) {
        const uint32_t middle = from + (to - from) / 2;
        if (is_not_behind(&prefixes[middle], head, subject, len))
            from = middle + 1;
        else
            to = middle;
    }
    if (from == 0)
        return NO_PARENT;
    uint32_t at = from - 1;
    const uint32_t common =
        common_len(prefixes[at].text, subject, prefixes[at].len < len ? prefixes[at].len : len);
    while (at != NO_PARENT && prefixes[at].len > common)
        at = prefixes[at].parent;
    return at;
}

const struct rule *config_find_override(const struct rule *rule, struct key key,
                                        const void *subject, size_t len)
{
    const struct config_overrides *overrides = rule->overrides;
    if (!overrides)
        return rule;
    if (overrides->whole_count) {
        uint64_t at = key.low & overrides->mask;
        /* At most a quarter of the slots is in use: an empty one ends this. */
        for (; overrides->slots[at].rule; at = (at + 1) & overrides->mask)
            if (overrides->slots[at].key.low == key.low &&
                overrides->slots[at].key.high == key.high)
                return overrides->slots[at].rule;
    }
    if (!rule->needs_subject)
        return rule;
    if (!subject)
        return NULL;
    const uint32_t at =
        find_prefix(overrides->prefixes, overrides->count - overrides->whole_count, subject, len);
    return at == NO_PARENT ? rule : overrides->prefixes[at].rule;
}

static int build_slots(struct config_overrides *overrides, uint64_t seed)
{
    uint64_t size = 4;
    if (overrides->whole_count == 0)
        return 0;
    while (size / 4 < overrides->whole_count)
        size *= 2;
    overrides->slots = calloc(size, sizeof(*overrides->slots));
    if (!overrides->slots)
        return -ENOMEM;
    overrides->mask = size - 1;
    for (uint32_t i = 0; i < overrides->whole_count; i++) {
        const struct config_override *item = &overrides->items[i];
        const struct key key = key_of_subject(item->subject, item->len, seed);
        uint64_t at = key.low & overrides->mask;
        while (overrides->slots[at].rule)
            at = (at + 1) & overrides->mask;
        overrides->slots[at] = (struct override_slot){.key = key, .rule = &item->rule};
    }
    return 0;
}

static int build_prefixes(struct config_overrides *overrides)
{
    const uint32_t count = overrides->count - overrides->whole_count;
    if (count == 0)
        return 0;
    overrides->prefixes = calloc(count, sizeof(*overrides->prefixes));
    if (!overrides->prefixes)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const struct config_override *item = &overrides->items[overrides->whole_count + i];
        overrides->prefixes[i] = (struct override_prefix){
            .head = head_of(item->subject, item->len),
            .text = item->subject,
            .len = item->len,
            .parent = find_prefix(overrides->prefixes, i, item->subject, item->len),
            .rule = &item->rule,
        };
    }
    return 0;
}

int find_build_overrides(struct config_overrides *overrides, uint64_t seed)
{
    const int result = build_slots(overrides, seed);
    return result ? result : build_prefixes(overrides);
}
