/* What a configuration hashes: seeds of tenants and its own file. Any thread. */
#ifndef METE_CONFIG_DIGEST_H
#define METE_CONFIG_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The seed of a tenant's keys (proto-spec/protocol.md 4): BLAKE2b with 8 bytes of output over "mete
 * seed 1" and the name, read as little endian; keyed with the CONFIG_KEY_BYTES at key unless it is
 * NULL. */
uint64_t digest_seed(const char *name, const uint8_t *key);

/* Wipes the stack below the caller: what was made there of secrets and seeds. */
void digest_wipe_frames(void);

/* BLAKE2b-256 as CONFIG_HASH_SIZE - 1 hex digits. */
void digest_file(const void *bytes, size_t len, char *ret_hex);

/* 32 bytes of SHA-256. */
void digest_sha256(const void *bytes, size_t len, uint8_t *ret_hash);

/* In a time that depends on len alone. */
bool digest_is_equal(const void *left, const void *right, size_t len);

#endif
