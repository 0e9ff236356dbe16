/* A set of names, each with a number from 0 in the order of their coming. subjects.c says how. */
#ifndef METE_CMD_SUBJECTS_H
#define METE_CMD_SUBJECTS_H

#include <stddef.h>
#include <stdint.h>

struct subjects {
    struct subject {
        uint64_t hash;
        uint64_t begin; /* in names */
        uint32_t len;
    } * items;
    uint32_t count;
    uint32_t size;    /* room in items */
    uint32_t *places; /* index + 1 by hash, 0: free; a power of two, twice size */
    char *names;
    uint64_t names_len, names_size;
};

/* Takes no memory yet. */
void subjects_init(struct subjects *subjects);
void subjects_deinit(struct subjects *subjects);

/* 0 and the number of the name, added if it is new; or -ENOMEM, then nothing has changed. */
int subjects_find_or_add(struct subjects *subjects, const char *name, size_t len,
                         uint32_t *ret_index);

/* Its bytes, not terminated; valid until a name is added. */
const char *subjects_name(const struct subjects *subjects, uint32_t index, size_t *ret_len);

#endif
