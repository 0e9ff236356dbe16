/* `mete vectors PATH`: golden datagrams through the codec of include/mete/wire.h.
 *
 * Each file is decoded, every field compared with the line that states it, encoded again and
 * compared byte by byte, and its tag verified. proto-spec/vectors/README.md describes the format.
 * The bytes were made by another codec, in another language, from proto-spec alone. One thread. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/vector_file.h"
#include "core/key.h"
#include "mete/wire.h"

static const char *to_hex(char *ret_text, size_t size, const uint8_t *bytes, size_t len)
{
    return sodium_bin2hex(ret_text, size, bytes, len);
}

static const char *key_to_hex(char *ret_text, size_t size, uint64_t low, uint64_t high)
{
    uint8_t bytes[16];
    mete_wire_put64(bytes, low);
    mete_wire_put64(bytes + 8, high);
    return to_hex(ret_text, size, bytes, sizeof(bytes));
}

static void expect_tag(struct vector *vector)
{
    char hex[2 * METE_WIRE_TAG_BYTES + 1];
    vector_expect(vector, "tag", "%s",
                  to_hex(hex, sizeof(hex), vector->bytes + vector->len - METE_WIRE_TAG_BYTES,
                         METE_WIRE_TAG_BYTES));
    vector_expect_end(vector);
}

/* --- what the protocol derives (section 4), by libsodium --- */

/* BLAKE2b of label and message under the secret in hexadecimal, "" for none. */
struct blob {
    const void *bytes;
    size_t len;
};

static void hash_labelled(struct vector *vector, const char *label, struct blob message,
                          const char *secret_hex, uint8_t *ret_hash, size_t hash_size)
{
    uint8_t secret[crypto_generichash_KEYBYTES_MAX];
    uint8_t text[128];
    size_t label_len = strlen(label);
    int secret_len = vector_parse_hex(secret_hex, secret, sizeof(secret));
    memset(ret_hash, 0, hash_size);
    if (secret_len < 0 || label_len + message.len > sizeof(text)) {
        vector_fail(vector, label,
                    "the secret is not 0 to 64 bytes in hexadecimal, or a name is too long");
        return;
    }
    memcpy(text, label, label_len);
    memcpy(text + label_len, message.bytes, message.len);
    crypto_generichash_blake2b(ret_hash, hash_size, text, label_len + message.len,
                               secret_len ? secret : NULL, (size_t)secret_len);
}

static void derive_mac_key(struct vector *vector, const char *secret_hex, const char *boot_id,
                           uint8_t ret_key[16])
{
    uint8_t boot[8];
    mete_wire_put64(boot, strtoull(boot_id, NULL, 10));
    hash_labelled(vector, "mete mac 1", (struct blob){boot, sizeof(boot)}, secret_hex, ret_key, 16);
}

/* The MAC key of the file, NULL for none; where it states a secret, the key must follow from it. */
static const struct mete_mac_key *read_mac_key(struct vector *vector, struct mete_mac_key *ret_key)
{
    uint8_t key[16] = {0}, derived[16];
    if (strcmp(vector_find(vector, "mac_key"), "none") == 0)
        return NULL;
    if (vector_parse_hex(vector_find(vector, "mac_key"), key, sizeof(key)) != (int)sizeof(key))
        vector_fail(vector, "mac_key", "not 16 bytes in hexadecimal, or none");
    if (*vector_find(vector, "secret")) {
        derive_mac_key(vector, vector_find(vector, "secret"), vector_find(vector, "boot_id"),
                       derived);
        if (memcmp(key, derived, sizeof(key)) != 0)
            vector_fail(vector, "mac_key", "is not what secret and boot_id make");
    }
    *ret_key = (struct mete_mac_key){mete_wire_get64(key), mete_wire_get64(key + 8)};
    return ret_key;
}

/* Copies the value of ` name=` in a line of such pairs. */
static const char *read_pair(struct vector *vector, const struct line *line, const char *name,
                             char *ret_value, size_t size)
{
    size_t name_len = strlen(name);
    for (const char *at = line->value; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        if (strncmp(at, name, name_len) != 0 || at[name_len] != '=')
            continue;
        snprintf(ret_value, size, "%.*s", (int)strcspn(at + name_len + 1, " "), at + name_len + 1);
        return ret_value;
    }
    vector_fail(vector, line->key, "no %s= in '%s'", name, line->value);
    ret_value[0] = '\0';
    return ret_value;
}

static uint64_t read_number(struct vector *vector, const struct line *line, const char *name)
{
    char text[32];
    return strtoull(read_pair(vector, line, name, text, sizeof(text)), NULL, 10);
}

static void check_hash(struct vector *vector, const struct line *line)
{
    char text[MAX_FIELD_BYTES], other[256], hex[33];
    uint8_t bytes[MAX_DATAGRAM_BYTES], hash[16];
    uint64_t expected = 0, got = 0;
    if (strcmp(line->key, "name") == 0) {
        expected = read_number(vector, line, "id");
        read_pair(vector, line, "text", text, sizeof(text));
        got = mete_name_id(text, strlen(text));
    } else if (strcmp(line->key, "seed") == 0) {
        expected = read_number(vector, line, "seed");
        read_pair(vector, line, "tenant", text, sizeof(text));
        read_pair(vector, line, "key_file", other, sizeof(other));
        hash_labelled(vector, "mete seed 1", (struct blob){text, strlen(text)}, other, hash, 8);
        got = mete_wire_get64(hash);
    } else if (strcmp(line->key, "mask") == 0) {
        expected = read_number(vector, line, "masked");
        read_pair(vector, line, "nonce", text, sizeof(text));
        read_pair(vector, line, "secret", other, sizeof(other));
        int len = vector_parse_hex(text, bytes, 16);
        hash_labelled(vector, "mete pad 1", (struct blob){bytes, len < 0 ? 0 : (size_t)len}, other,
                      hash, 8);
        got = read_number(vector, line, "seed") ^ (*other ? mete_wire_get64(hash) : 0);
    } else if (strcmp(line->key, "key") == 0) {
        int len = vector_parse_hex(read_pair(vector, line, "subject", text, sizeof(text)), bytes,
                                   sizeof(bytes));
        struct key key =
            key_of_subject(bytes, len < 0 ? 0 : (size_t)len, read_number(vector, line, "seed"));
        key_to_hex(hex, sizeof(hex), key.low, key.high);
        expected = strcmp(hex, read_pair(vector, line, "key", text, sizeof(text))) == 0;
        got = 1;
    } else if (strcmp(line->key, "mac") == 0) {
        read_pair(vector, line, "secret", other, sizeof(other));
        derive_mac_key(vector, other, read_pair(vector, line, "boot_id", text, sizeof(text)), hash);
        to_hex(hex, sizeof(hex), hash, sizeof(hash));
        expected = strcmp(hex, read_pair(vector, line, "mac_key", text, sizeof(text))) == 0;
        got = 1;
    } else {
        vector_fail(vector, line->key, "unknown derivation");
    }
    if (got != expected)
        vector_fail(vector, line->key, "'%s' is not what is derived", line->value);
}

/* --- requests --- */

static const char *wire_name(enum mete_wire result)
{
    static const char *const names[] = {"ok",        "bad_length", "bad_magic", "bad_version",
                                        "bad_sizes", "bad_count",  "bad_type"};
    return names[result];
}

/* The codec's name for a case: what only a server can find looks well formed to it. */
static bool expect_case(struct vector *vector, const char *got)
{
    static const char *const of_server[] = {"unknown_tenant", "untrusted", "unsupported", "stale"};
    const char *expected = vector_find(vector, "case");
    for (size_t i = 0; i < sizeof(of_server) / sizeof(of_server[0]); i++)
        if (strcmp(expected, of_server[i]) == 0)
            expected = "ok";
    if (strcmp(expected, got) != 0)
        vector_fail(vector, "case", "expected '%s', decoded '%s'", expected, got);
    return strcmp(expected, got) == 0 && strcmp(got, "ok") == 0;
}

static void expect_entry(struct vector *vector, const struct mete_header *header,
                         const struct mete_entry *entry)
{
    char text[MAX_FIELD_BYTES], hex[2 * UINT8_MAX + 1];
    int at = snprintf(text, sizeof(text), "rule=%u cost=%u", entry->rule, entry->cost);
    if (!(header->flags & METE_FLAG_RAW_SUBJECT))
        at += snprintf(text + at, sizeof(text) - (size_t)at, " key=%s",
                       key_to_hex(hex, sizeof(hex), entry->key_low, entry->key_high));
    if (mete_type_is_lease(header->type))
        at += snprintf(text + at, sizeof(text) - (size_t)at, " lease=%" PRIu64, entry->lease);
    else if (header->flags & METE_FLAG_INLINE_LIMIT)
        at += snprintf(text + at, sizeof(text) - (size_t)at, " count=%u burst=%u period=%" PRIu64,
                       entry->limit_count, entry->limit_burst, entry->limit_period_ns);
    if (header->flags & METE_FLAG_RAW_SUBJECT)
        snprintf(text + at, sizeof(text) - (size_t)at, " subject=%s",
                 to_hex(hex, sizeof(hex), entry->subject, entry->subject_len));
    vector_expect(vector, "entry", "%s", text);
}

static void expect_request(struct vector *vector, const struct mete_header *header,
                           const struct mete_mac_key *key)
{
    uint8_t again[METE_WIRE_MAX_BYTES];
    char hex[33];
    vector_expect(vector, "type", "%u", header->type);
    vector_expect(vector, "flags", "%u", header->flags);
    vector_expect(vector, "n", "%u", header->n);
    vector_expect(vector, "tenant", "%u", header->tenant);
    vector_expect(vector, "client", "%u", header->client);
    vector_expect(vector, "sequence", "%u", header->sequence);
    vector_expect(vector, "clock", "%u", header->clock_ms);
    vector_expect(vector, "boot", "%u", header->boot);
    vector_expect(vector, "secret_number", "%u", header->secret);
    vector_expect(vector, "header_words", "%u", header->header_bytes / 8u);
    vector_expect(vector, "entry_words", "%u", header->entry_bytes / 8u);
    mete_wire_encode_header(again, header);
    bool is_known = header->type >= METE_CHECK && header->type <= METE_RELEASE;
    for (unsigned i = 0; is_known && i < header->n; i++) {
        struct mete_entry entry = {0};
        if (mete_wire_decode_entry(vector->bytes, header, i, &entry) != 0) {
            vector_fail(vector, "entry", "cannot be decoded");
            return;
        }
        expect_entry(vector, header, &entry);
        mete_wire_encode_entry(again, header, i, &entry);
    }
    if (header->type == METE_HELLO) {
        const uint8_t *nonce = vector->bytes + header->header_bytes;
        vector_expect(vector, "entry", "nonce=%s", to_hex(hex, sizeof(hex), nonce, 16));
        memcpy(again + METE_WIRE_HEADER_BYTES, nonce, 16);
        memset(again + METE_WIRE_HEADER_BYTES + 16, 0, 16);
        is_known = true;
    }
    expect_tag(vector);
    if (is_known && header->header_bytes == METE_WIRE_HEADER_BYTES) {
        size_t len = mete_wire_request_bytes(header->n, header->entry_bytes);
        mete_wire_sign_request(again, len, key);
        vector_expect_bytes(vector, again, len);
    }
}

static void check_request(struct vector *vector)
{
    struct mete_header header = {0};
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_mac_key(vector, &key_room);
    enum mete_wire form = mete_wire_decode_header(vector->bytes, vector->len, &header);
    const char *got = wire_name(form);
    if (form == METE_WIRE_OK && !mete_wire_verify_request(vector->bytes, vector->len, key)) {
        got = "bad_tag";
    } else if (form == METE_WIRE_OK && header.type >= METE_CHECK && header.type <= METE_RELEASE) {
        struct mete_entry entry;
        for (unsigned i = 0; i < header.n; i++)
            if (mete_wire_decode_entry(vector->bytes, &header, i, &entry) != 0)
                got = "bad_subject";
    }
    if (expect_case(vector, got))
        expect_request(vector, &header, key);
}

/* --- results --- */

static void expect_body(struct vector *vector, const struct mete_result_header *header,
                        uint8_t *again)
{
    if (header->type == (METE_HELLO | METE_RESULT) && header->n) {
        struct mete_hello_result hello = mete_wire_decode_hello_result(vector->bytes);
        vector_expect(vector, "hello",
                      "boot_id=%" PRIu64 " masked_seed=%" PRIu64 " wall_clock=%" PRIu64
                      " repeat_window=%u clock_lead=%u served_types=%" PRIu64,
                      hello.boot_id, hello.masked_seed, hello.wall_ms, hello.repeat_ms,
                      hello.ahead_ms, hello.features);
        mete_wire_encode_hello_result(again, &hello);
    } else if (header->flags & METE_RESULT_MIN) {
        char text[2 * METE_WIRE_MAX_CHECKS + 1] = "";
        uint8_t *bits = again + METE_WIRE_RESULT_HEADER_BYTES;
        memset(bits, 0, mete_wire_result_body(header->type, header->flags, header->n));
        for (unsigned i = 0; i < header->n; i++) {
            unsigned bit = mete_wire_decode_min(vector->bytes, i) ? 1 : 0;
            bits[i / 8] |= (uint8_t)(bit << i % 8);
            text[2 * i] = (char)('0' + bit);
            text[2 * i + 1] = i + 1 < header->n ? ' ' : '\0';
        }
        vector_expect(vector, "allowed", "%s", text);
    } else {
        for (unsigned i = 0; i < header->n; i++) {
            struct mete_verdict verdict = mete_wire_decode_verdict(vector->bytes, i);
            vector_expect(
                vector, "entry",
                "status=%u flags=%u retry_unit=%u reset_unit=%u remaining=%u retry_after=%u "
                "reset_after=%u",
                verdict.status, verdict.flags, verdict.unit & 15u, verdict.unit >> 4,
                verdict.remaining, verdict.retry_after, verdict.reset_after);
            mete_wire_encode_verdict(again, i, &verdict);
        }
    }
}

static void check_result(struct vector *vector)
{
    struct mete_result_header header = {0};
    uint8_t again[METE_WIRE_MAX_BYTES], request_tag[METE_WIRE_TAG_BYTES] = {0};
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_mac_key(vector, &key_room);
    if (vector_parse_hex(vector_find(vector, "request_tag"), request_tag, sizeof(request_tag)) != 8)
        vector_fail(vector, "request_tag", "not 8 bytes in hexadecimal");
    uint64_t tag = mete_wire_get64(request_tag);
    enum mete_wire form = mete_wire_decode_result(vector->bytes, vector->len, &header);
    const char *got = wire_name(form);
    bool is_unsigned = form == METE_WIRE_OK && header.type == METE_RESTARTED &&
                       !(header.flags & METE_RESULT_STATUS);
    if (form == METE_WIRE_OK &&
        !(is_unsigned ? mete_wire_tag(vector->bytes, vector->len) == tag
                      : mete_wire_verify_result(vector->bytes, vector->len, tag, key)))
        got = "bad_tag";
    if (!expect_case(vector, got))
        return;
    vector_expect(vector, "type", "%u", header.type);
    vector_expect(vector, "flags", "%u", header.flags);
    vector_expect(vector, "n", "%u", header.n);
    vector_expect(vector, "sequence", "%u", header.sequence);
    vector_expect(vector, "clock", "%u", header.clock_ms);
    vector_expect(vector, "boot", "%u", header.boot);
    vector_expect(vector, "detail", "%u", header.detail);
    mete_wire_encode_result_header(again, &header);
    expect_body(vector, &header, again);
    expect_tag(vector);
    size_t len = mete_wire_result_bytes(header.type, header.flags, header.n);
    if (is_unsigned)
        mete_wire_put64(again + len - METE_WIRE_TAG_BYTES, tag);
    else
        mete_wire_sign_result(again, len, tag, key);
    vector_expect_bytes(vector, again, len);
}

/* --- files --- */

/* 1 if the file holds a vector that fails, 0 if it passes, or a negative errno. */
static int run_file(const char *path)
{
    static struct vector vector; /* too big for a stack; one file at a time */
    int error = vector_load(&vector, path);
    if (error)
        return error;
    const char *kind = vector_find(&vector, "kind");
    if (vector.failed)
        return 1;
    if (strcmp(kind, "request") == 0)
        check_request(&vector);
    else if (strcmp(kind, "result") == 0)
        check_result(&vector);
    else if (strcmp(kind, "derive") == 0)
        while (vector.next < vector.count)
            check_hash(&vector, &vector.lines[vector.next++]);
    else
        vector_fail(&vector, "kind", "'%s' is not request, result or derive", kind);
    return vector.failed;
}

static int is_vector(const struct dirent *file)
{
    size_t len = strlen(file->d_name);
    return len > 4 && strcmp(file->d_name + len - 4, ".txt") == 0;
}

/* Adds to the counts. 0, or EXIT_USAGE after saying what cannot be read. */
static int run_path(const char *path, unsigned *passed, unsigned *failed)
{
    struct stat status;
    struct dirent **files;
    if (stat(path, &status) != 0)
        return cmd_fail("vectors", "%s: %s", path, strerror(errno));
    if (!S_ISDIR(status.st_mode)) {
        int result = run_file(path);
        if (result < 0)
            return cmd_fail("vectors", "%s: %s", path, strerror(-result));
        ++*(result ? failed : passed);
        return 0;
    }
    int count = scandir(path, &files, is_vector, alphasort);
    if (count < 0)
        return cmd_fail("vectors", "%s: %s", path, strerror(errno));
    int error = 0;
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, files[i]->d_name);
        if (!error)
            error = run_path(file, passed, failed);
        free(files[i]);
    }
    free(files);
    return error;
}

static const char help[] = "usage: mete vectors PATH\n\n"
                           "Runs golden datagrams through the codec that server, clients and load "
                           "generator share: decodes\n"
                           "each, compares every field with what the file says, encodes it again, "
                           "compares the bytes, and\n"
                           "verifies the tag. PATH is one file, or a folder whose *.txt are taken, "
                           "as proto-spec/vectors.\n\n"
                           "Prints a line per failure, 'FILE: FIELD: what was expected and found', "
                           "then 'N passed, N failed'.\n"
                           "Exit status: 0 all passed, 1 some failed, 2 wrong use, a path that "
                           "cannot be read or no vectors.\n";

int cmd_vectors(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    if (argc != 2 || argv[1][0] == '-' || !argv[1][0])
        return cmd_fail("vectors",
                        "takes one file or folder, as in `mete vectors proto-spec/vectors`");
    if (sodium_init() < 0)
        return cmd_fail("vectors", "libsodium cannot start");
    int error = run_path(argv[1], &passed, &failed);
    if (error)
        return error;
    if (passed + failed == 0)
        return cmd_fail("vectors", "%s: no file *.txt in it", argv[1]);
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
