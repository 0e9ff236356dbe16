/* The compare of tags for valgrind: the key is marked undefined, so memcheck reports every branch
 * and every address that depends on it, and with them whatever time could tell of a tag.
 *
 *   timing_probe HOW     request or result: the code that serves; memcmp, early: what must be
 *                        reported. Without valgrind it only compares. Prints what came out. */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "mete/wire.h"

#define BYTES 56u

static uint64_t tag_of(const struct mete_mac_key *key, const uint8_t *bytes)
{
    return mete_mac(key, bytes, BYTES - METE_WIRE_TAG_BYTES);
}

/* By a function of the library, whose answer says where the first difference is. */
static int is_equal_memcmp(const struct mete_mac_key *key, const uint8_t *bytes)
{
    uint8_t tag[METE_WIRE_TAG_BYTES];
    mete_wire_put64(tag, tag_of(key, bytes));
    return memcmp(tag, bytes + BYTES - sizeof(tag), sizeof(tag)) == 0;
}

/* Byte by byte, until one differs. */
static int is_equal_early(const struct mete_mac_key *key, const uint8_t *bytes)
{
    uint8_t tag[METE_WIRE_TAG_BYTES];
    mete_wire_put64(tag, tag_of(key, bytes));
    for (unsigned i = 0; i < sizeof(tag); i++)
        if (tag[i] != bytes[BYTES - sizeof(tag) + i])
            return 0;
    return 1;
}

/* All that a server and a client verify with must agree. */
static int is_equal_served(const struct mete_mac_key *key, const uint8_t *bytes)
{
    uint64_t tag = tag_of(key, bytes);
    return mete_mac_equal(tag, mete_wire_tag(bytes, BYTES)) &
           mete_wire_verify_request(bytes, BYTES, key);
}

static int compare(const char *how, const struct mete_mac_key *key, const uint8_t *bytes)
{
    if (strcmp(how, "request") == 0)
        return is_equal_served(key, bytes);
    if (strcmp(how, "result") == 0)
        return mete_wire_verify_result(bytes, BYTES, 77, key);
    if (strcmp(how, "memcmp") == 0)
        return is_equal_memcmp(key, bytes);
    return is_equal_early(key, bytes);
}

int main(int argc, char **argv)
{
    const struct mete_mac_key known = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    struct mete_mac_key key = known;
    uint8_t bytes[BYTES] = "any bytes at all";
    const char *how = argc > 1 ? argv[1] : "request";
    unsigned equal = 0;

    VALGRIND_MAKE_MEM_UNDEFINED(&key, sizeof(key));
    for (unsigned i = 0; i < 65; i++) { /* each bit of the tag wrong once, and none */
        if (strcmp(how, "result") == 0)
            mete_wire_sign_result(bytes, BYTES, 77, &known);
        else
            mete_wire_sign_request(bytes, BYTES, &known);
        if (i < 64)
            bytes[BYTES - METE_WIRE_TAG_BYTES + i / 8] ^= (uint8_t)(1u << i % 8);
        int result = compare(how, &key, bytes);
        VALGRIND_MAKE_MEM_DEFINED(&result, sizeof(result)); /* the outcome is no secret */
        equal += result != 0;
    }
    printf("%u of 65 equal\n", equal);
    return 0;
}
