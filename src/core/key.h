/* Names and subjects to numbers: the ids of rules and tenants, and the key of a subject.
 * The hash of a subject is XXH3-128 (xxhash, by Yann Collet), seeded per tenant; the ids of names
 * are FNV-1a, 32 bit, so that any language can compute them in five lines. */
#ifndef METE_CORE_KEY_H
#define METE_CORE_KEY_H

#include <stddef.h>
#include <stdint.h>

/* 128 bits, in the byte order of the wire: low is the low 64 bits of XXH3-128, little endian. */
struct key {
    uint64_t low;
    uint64_t high;
};

/* FNV-1a 32 of a rule's or a tenant's name. */
uint32_t key_name_id(const char *name, size_t len);

/* XXH3-128 with seed over the subject's bytes. */
struct key key_of_subject(const void *subject, size_t len, uint64_t seed);

#endif
