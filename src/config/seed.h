/* The seed of a tenant's keys, see proto-spec/protocol.md 4. Any thread. */
#ifndef METE_CONFIG_SEED_H
#define METE_CONFIG_SEED_H

#include <stdint.h>

/* BLAKE2b with 8 bytes of output over "mete seed 1" and the name, little endian, without a key. */
uint64_t seed_of_tenant(const char *name);

#endif
