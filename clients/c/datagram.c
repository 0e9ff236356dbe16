/* From checks to datagrams: keys, joining, signing, sending; and the HELLO.
 *
 * Checks that look alike (type, flags, form and size of entry) share a datagram. The form is the
 * 24-byte key when the tenant's seed is known, else the subject itself; rules that answered
 * NEED_SUBJECT get the subject always. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HELLO_NONCE_BYTES 16u

struct form {
    bool raw;
    unsigned entry_bytes; /* 0: cannot be sent in this form */
};

void mete_datagram_key(const struct mete_client *client, const void *subject, size_t subject_len,
                       struct mete_entry *ret_entry)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(subject, subject_len, client->hello.seed);
    ret_entry->key_low = hash.low64;
    ret_entry->key_high = hash.high64;
}

void mete_datagram_remember_rule(struct mete_client *client, uint32_t rule)
{
    client->subject_rules[client->subject_rule_count++ % SUBJECT_RULES] = rule;
}

static bool needs_subject(const struct mete_client *client, uint32_t rule)
{
    for (uint32_t i = 0; i < SUBJECT_RULES && i < client->subject_rule_count; i++)
        if (client->subject_rules[i] == rule)
            return true;
    return false;
}

static unsigned raw_bytes(const struct check *check)
{
    return mete_wire_entry_raw(check->type, check->flags, check->subject_len);
}

static unsigned key_bytes(const struct check *check)
{
    return mete_wire_entry_fixed(check->type, check->flags);
}

static struct form form_of(const struct mete_client *client, const struct check *check)
{
    bool raw =
        (!client->hello.known || needs_subject(client, check->entry.rule)) && raw_bytes(check) != 0;
    return (struct form){.raw = raw, .entry_bytes = raw ? raw_bytes(check) : key_bytes(check)};
}

/* Sends one datagram. A refusal that the socket reports here is about an earlier datagram: what is
 * in flight is given up, and this one gets its own try. A full socket is waited for until
 * wait_until_ns. Results: 0 or the errno. */
static int send_bytes(struct mete_client *client, const uint8_t *bytes, size_t len,
                      int64_t wait_until_ns)
{
    bool refused = false;
    for (;;) {
        if (send(client->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
            return 0;
        int error = errno;
        if (error == EINTR)
            continue;
        if (error == ECONNREFUSED && !refused) {
            refused = true;
            mete_flight_fail_all(client, error);
            continue;
        }
        int64_t left_ns = wait_until_ns - mete_now_ns();
        if (error != EAGAIN || left_ns <= 0)
            return error;
        struct pollfd writable = {.fd = client->fd, .events = POLLOUT};
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        ppoll(&writable, 1, &left, NULL);
    }
}

/* Fills what every datagram has: who, which, when. */
static void stamp(struct mete_client *client, struct mete_header *header, int64_t now_ns)
{
    header->tenant = client->tenant;
    header->client = client->client_id;
    header->sequence = client->sequence++;
    header->secret = client->secret;
    header->boot = client->boot;
    header->clock_ms = 0;
    if (client->clock_known) {
        int64_t elapsed_ms = (now_ns - client->clock_at_ns) / 1000000;
        header->clock_ms = client->clock_ms + (uint32_t)elapsed_ms;
        header->clock_ms += header->clock_ms == 0; /* 0 would say: unknown */
    }
}

void mete_datagram_hello(struct mete_client *client, int64_t now_ns)
{
    struct hello *hello = &client->hello;
    if (hello->in_flight && now_ns < hello->deadline_ns)
        return;
    hello->failed |= hello->in_flight;
    uint8_t bytes[METE_WIRE_HELLO_BYTES] = {0};
    struct mete_header header = {.type = METE_HELLO, .n = 1, .entry_bytes = 32};
    stamp(client, &header, now_ns);
    mete_wire_encode_header(bytes, &header);
    randombytes_buf(bytes + METE_WIRE_HEADER_BYTES, HELLO_NONCE_BYTES);
    hello->sequence = header.sequence;
    hello->tag = mete_wire_sign_request(bytes, sizeof(bytes), &client->mac);
    hello->deadline_ns = now_ns + client->timeout_ns;
    hello->in_flight = false; /* a refusal reported now is not about this one */
    hello->error = send_bytes(client, bytes, sizeof(bytes), 0);
    hello->in_flight = hello->error == 0;
    hello->failed |= !hello->in_flight;
    client->stats.sent_datagrams += hello->in_flight;
}

/* Sends a batch and empties it. What nobody waits for any more is not sent: it would be charged
 * for nothing. Returns 1 if it was sent. */
static int send_batch(struct mete_client *client, struct batch *batch)
{
    int64_t now_ns = mete_now_ns();
    unsigned n = batch->header.n;
    size_t len = mete_wire_request_bytes(n, batch->header.entry_bytes);
    int error = 0;
    bool late = batch->deadline_ns <= now_ns;
    uint64_t tag = 0;
    if (!late) {
        stamp(client, &batch->header, now_ns);
        mete_wire_encode_header(batch->bytes, &batch->header);
        tag = mete_wire_sign_request(batch->bytes, len, &client->mac);
        error = send_bytes(client, batch->bytes, len, batch->blocking ? batch->deadline_ns : 0);
    }
    if (late || error) {
        enum mete_source source = error ? METE_SOURCE_SEND : METE_SOURCE_TIMEOUT;
        for (unsigned i = 0; i < n; i++)
            mete_check_give_up(client, batch->checks[i], source, METE_STATUS_OK, error);
        batch->header.n = 0;
        return 0;
    }
    mete_flight_begin(client, batch, tag);
    batch->header.n = 0;
    client->stats.sent_datagrams++;
    client->stats.sent_checks += n;
    if (client->hello.wanted)
        mete_datagram_hello(client, now_ns);
    return 1;
}

int mete_datagram_flush(struct mete_client *client, bool blocking)
{
    int sent = 0;
    for (unsigned i = 0; i < BATCH_COUNT; i++) {
        struct batch *batch = &client->batches[i];
        if (batch->header.n && batch->blocking == blocking)
            sent += send_batch(client, batch);
    }
    return sent;
}

/* The open batch that the check fits, or a new one; when all are taken, one of them is sent. */
static struct batch *find_batch(struct mete_client *client, const struct check *check,
                                struct form form)
{
    uint8_t flags = (uint8_t)(check->flags | (form.raw ? METE_FLAG_RAW_SUBJECT : 0));
    struct batch *unused = NULL;
    for (unsigned i = 0; i < BATCH_COUNT; i++) {
        struct batch *batch = &client->batches[i];
        if (batch->header.n == 0)
            unused = unused ? unused : batch;
        else if (batch->header.type == check->type && batch->header.flags == flags &&
                 batch->header.entry_bytes == form.entry_bytes &&
                 batch->blocking == check->blocking)
            return batch;
    }
    if (!unused) {
        unused = &client->batches[client->batch_oldest++ % BATCH_COUNT];
        send_batch(client, unused);
    }
    unused->blocking = check->blocking;
    unused->deadline_ns = 0;
    unused->header = (struct mete_header){
        .type = check->type, .flags = flags, .entry_bytes = (uint8_t)form.entry_bytes};
    return unused;
}

static void add(struct mete_client *client, uint32_t index, struct form form)
{
    struct check *check = &client->checks[index];
    struct batch *batch = find_batch(client, check, form);
    struct mete_entry entry = check->entry;
    if (form.raw) {
        entry.subject = check->subject;
        entry.subject_len = (uint8_t)check->subject_len;
    } else if (check->subject_len <= sizeof(check->subject)) {
        mete_datagram_key(client, check->subject, check->subject_len, &entry);
    }
    mete_wire_encode_entry(batch->bytes, &batch->header, batch->header.n, &entry);
    batch->checks[batch->header.n++] = index;
    if (batch->deadline_ns < check->deadline_ns)
        batch->deadline_ns = check->deadline_ns;
    if ((batch->header.n + 1u) * form.entry_bytes > ENTRIES_BYTES)
        send_batch(client, batch);
}

void mete_datagram_add(struct mete_client *client, uint32_t index)
{
    add(client, index, form_of(client, &client->checks[index]));
}

bool mete_datagram_add_together(struct mete_client *client, const uint32_t *indices, unsigned count,
                                bool whole)
{
    struct form common = {0};
    for (unsigned i = 0; i < count; i++)
        common.raw |= form_of(client, &client->checks[indices[i]]).raw;
    bool possible = true;
    for (unsigned i = 0; i < count; i++) {
        const struct check *check = &client->checks[indices[i]];
        unsigned bytes = common.raw ? raw_bytes(check) : key_bytes(check);
        possible &= bytes != 0;
        if (common.entry_bytes < bytes)
            common.entry_bytes = bytes;
    }
    possible &= count * common.entry_bytes <= ENTRIES_BYTES;
    if (!possible && whole)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (possible)
            add(client, indices[i], common);
        else
            mete_datagram_add(client, indices[i]);
    }
    return true;
}
