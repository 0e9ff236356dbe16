/* A set of names: open addressing by XXH3, linear probing, at most half full; the names themselves
 * are compared, so two of one hash stay two. Grows by doubling, so adding is amortised O(1).
 * One thread at a time. */
#include "cmd/subjects.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/key.h"

#define FIRST_SIZE 1024u
#define LARGEST_SIZE (1u << 30)
#define FIRST_NAMES_SIZE 65536u

void subjects_init(struct subjects *subjects)
{
    *subjects = (struct subjects){0};
}

void subjects_deinit(struct subjects *subjects)
{
    free(subjects->items);
    free(subjects->places);
    free(subjects->names);
    *subjects = (struct subjects){0};
}

const char *subjects_name(const struct subjects *subjects, uint32_t index, size_t *ret_len)
{
    *ret_len = subjects->items[index].len;
    return subjects->names + subjects->items[index].begin;
}

static uint32_t place_mask(const struct subjects *subjects)
{
    return 2 * subjects->size - 1;
}

/* The place of the name, or the free one where it belongs. */
static uint32_t *find_place(const struct subjects *subjects, uint64_t hash, const char *name,
                            size_t len)
{
    const uint32_t mask = place_mask(subjects);
    uint32_t at = (uint32_t)hash & mask;

    for (; subjects->places[at] != 0; at = (at + 1) & mask) {
        const struct subject *subject = &subjects->items[subjects->places[at] - 1];
        if (subject->hash == hash && subject->len == len &&
            memcmp(subjects->names + subject->begin, name, len) == 0)
            break;
    }
    return &subjects->places[at];
}

static int grow_items(struct subjects *subjects)
{
    const uint32_t size = subjects->size == 0 ? FIRST_SIZE : 2 * subjects->size;
    if (size > LARGEST_SIZE)
        return -ENOMEM;
    struct subject *items = reallocarray(subjects->items, size, sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    subjects->items = items;
    uint32_t *places = calloc(2 * (size_t)size, sizeof(*places));
    if (places == NULL)
        return -ENOMEM;
    free(subjects->places);
    subjects->places = places;
    subjects->size = size;
    for (uint32_t i = 0; i < subjects->count; i++) {
        uint32_t at = (uint32_t)items[i].hash & place_mask(subjects);
        while (places[at] != 0)
            at = (at + 1) & place_mask(subjects);
        places[at] = i + 1;
    }
    return 0;
}

static int reserve_name(struct subjects *subjects, size_t len)
{
    uint64_t size = subjects->names_size == 0 ? FIRST_NAMES_SIZE : subjects->names_size;
    while (size - subjects->names_len < len)
        size *= 2;
    if (size == subjects->names_size)
        return 0;
    char *names = realloc(subjects->names, size);
    if (names == NULL)
        return -ENOMEM;
    subjects->names = names;
    subjects->names_size = size;
    return 0;
}

int subjects_find_or_add(struct subjects *subjects, const char *name, size_t len,
                         uint32_t *ret_index)
{
    const uint64_t hash = key_of_subject(name, len, 0).low;

    if (subjects->count == subjects->size && grow_items(subjects) < 0)
        return -ENOMEM;
    uint32_t *place = find_place(subjects, hash, name, len);
    if (*place == 0) {
        if (len > UINT32_MAX || reserve_name(subjects, len) < 0)
            return -ENOMEM;
        memcpy(subjects->names + subjects->names_len, name, len);
        subjects->items[subjects->count] =
            (struct subject){hash, subjects->names_len, (uint32_t)len};
        subjects->names_len += len;
        *place = ++subjects->count;
    }
    *ret_index = *place - 1;
    return 0;
}
