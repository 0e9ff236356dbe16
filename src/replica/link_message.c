/* A call is  FCALL name KEYS... blob  or  EVALSHA hash KEYS... blob.
 *
 *   KEYS   the node's record, the usage counter of each tenant, then for each key of the batch the
 *          name of its cell and, for sliding windows, that of the window before
 *   blob   one array in MessagePack, flat, so that Redis turns it into numbers in one step:
 *          [time or 0, sequence, incarnation (8 bytes), usage counters, rows, keys,
 *           rows x (usage, kind, cap, expiry, unit_us, unit_ticks, most, window_us, window),
 *           keys x (2 * row + resets, base epoch, base value, charge, ahead, units, wanted
 *                   and, if its row says so, asked)]
 *
 * A row is what many keys of a rule have in common; 4 is added to its kind if its keys ask for a
 * grant. The answer is another such array:
 *          [outcome, time, foreign, keys, keys x (epoch, value, demand),
 *           (place, from 1, previous, granted) of those where these are not 0]
 *
 * The name of a cell: the tag, then tenant and rule (4 bytes each, little endian), key (16), and
 * where override, shape or kind are not 0 a hash of them (8) and the bytes of the window's name up
 * to its highest that is not 0. Names of different lengths are of different kinds, so none is read
 * as another. A bucket travels in about 65 bytes. */
#include "replica/link_message.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/key.h"

#define MAX_TAG (LINK_MAX_NAMESPACE + 24u)
#define MAX_NAME (MAX_TAG + 40u)
#define MAX_WORDS (3u + 1u + 3u * BATCH_MAX_KEYS + 1u)
#define ROWS_SEEN 8u /* how far back an equal row is looked for */
#define ROW_FIELDS 9u
#define KEY_FIELDS 8u
#define ASKS 4u /* in a row's kind */
#define ANSWER_HEAD 4u
#define ANSWER_FIELDS 3u

struct row {
    uint32_t usage;
    uint32_t unit_ticks;
    uint64_t kind, cap_us, expiry_ms, unit_us, most, window_us, window;
};

struct link_message {
    char namespace_name[LINK_MAX_NAMESPACE + 1];
    uint32_t word_count, usage_count, row_count, asking_count;
    size_t name_len;
    struct redis_buffer blob;
    const char *words[MAX_WORDS];
    size_t lens[MAX_WORDS];
    uint32_t tenants[BATCH_MAX_KEYS];
    uint16_t row_of[BATCH_MAX_KEYS];
    struct row rows[BATCH_MAX_KEYS];
    char names[MAX_WORDS * MAX_NAME];
};

struct link_message *link_message_create(const char *namespace_name)
{
    struct link_message *message = calloc(1, sizeof(*message));

    if (message)
        snprintf(message->namespace_name, sizeof(message->namespace_name), "%s", namespace_name);
    return message;
}

void link_message_destroy(struct link_message *message)
{
    if (!message)
        return;
    redis_buffer_free(&message->blob);
    free(message);
}

void link_message_tag(const struct link_message *message, uint32_t partition, char *ret_tag,
                      size_t size)
{
    snprintf(ret_tag, size, "mete:%s:%" PRIu32, message->namespace_name, partition);
}

void link_message_namespace_tag(const struct link_message *message, char *ret_tag, size_t size)
{
    snprintf(ret_tag, size, "mete:%s", message->namespace_name);
}

static void add_word(struct link_message *message, const char *word, size_t len)
{
    message->words[message->word_count] = word;
    message->lens[message->word_count++] = len;
}

static void add_name(struct link_message *message, const char *tag, const void *rest, size_t len)
{
    char *name = message->names + message->name_len;
    const size_t tag_len = strlen(tag);

    memcpy(name, tag, tag_len);
    memcpy(name + tag_len, rest, len);
    add_word(message, name, tag_len + len);
    message->name_len += tag_len + len;
}

static void add_cell_name(struct link_message *message, const char *tag,
                          const struct batch_key *key, uint64_t window)
{
    uint8_t name[40];
    size_t len = 24;
    const uint32_t ids[2] = {htole32(key->tenant_id), htole32(key->rule_id)};
    const uint64_t halves[2] = {htole64(key->key.low), htole64(key->key.high)};

    memcpy(name, ids, sizeof(ids));
    memcpy(name + 8, halves, sizeof(halves));
    if (key->override != 0 || key->shape != 0 || key->kind != MERGE_BUCKET) {
        const uint64_t parts[3] = {htole64(key->override), htole64(key->shape),
                                   htole64((uint64_t)key->kind)};
        const uint64_t hash = htole64(key_of_subject(parts, sizeof(parts), 0).low);
        memcpy(name + len, &hash, sizeof(hash));
        len += sizeof(hash);
    }
    if (key->kind != MERGE_BUCKET)
        do
            name[len++] = (uint8_t)window;
        while (window >>= 8);
    add_name(message, tag, name, len);
}

static int put(struct redis_buffer *blob, int64_t number)
{
    uint8_t bytes[9];
    uint64_t big = (uint64_t)number;
    size_t len;

    if (number >= -32 && number <= 127) {
        bytes[0] = (uint8_t)number;
        len = 0;
    } else if (number >= 0) {
        len = number <= UINT8_MAX ? 1 : number <= UINT16_MAX ? 2 : number <= UINT32_MAX ? 4 : 8;
        bytes[0] = (uint8_t)(len == 1 ? 0xcc : len == 2 ? 0xcd : len == 4 ? 0xce : 0xcf);
    } else {
        len = number >= INT8_MIN ? 1 : number >= INT16_MIN ? 2 : number >= INT32_MIN ? 4 : 8;
        bytes[0] = (uint8_t)(len == 1 ? 0xd0 : len == 2 ? 0xd1 : len == 4 ? 0xd2 : 0xd3);
    }
    for (size_t i = len; i > 0; i--, big >>= 8)
        bytes[i] = (uint8_t)big;
    return redis_buffer_append(blob, bytes, len + 1);
}

static int put_all(struct redis_buffer *blob, const int64_t *numbers, size_t count)
{
    int result = 0;

    for (size_t i = 0; i < count && result == 0; i++)
        result = put(blob, numbers[i]);
    return result;
}

static uint32_t find_usage(struct link_message *message, uint32_t tenant_id)
{
    for (uint32_t i = message->usage_count; i > 0; i--)
        if (message->tenants[i - 1] == tenant_id)
            return i - 1;
    message->tenants[message->usage_count] = tenant_id;
    return message->usage_count++;
}

static bool is_equal_row(const struct row *a, const struct row *b)
{
    return a->usage == b->usage && a->unit_ticks == b->unit_ticks && a->kind == b->kind &&
           a->cap_us == b->cap_us && a->expiry_ms == b->expiry_ms && a->unit_us == b->unit_us &&
           a->most == b->most && a->window_us == b->window_us && a->window == b->window;
}

static uint16_t find_row(struct link_message *message, const struct batch_key *key)
{
    struct row row = {
        .usage = find_usage(message, key->tenant_id),
        .kind = key->kind,
        .cap_us = key->kind == MERGE_BUCKET ? key->delta.cap_us : 0,
        .expiry_ms = key->expiry_ms,
    };

    if (key->ask.wanted > 0) {
        row.kind |= ASKS;
        row.unit_ticks = key->ask.unit_ticks;
        row.unit_us = key->ask.unit_us;
        row.most = key->ask.most;
        row.window_us = key->ask.window_us;
        row.window = key->ask.window;
    }
    for (uint32_t i = message->row_count; i > 0 && i + ROWS_SEEN > message->row_count; i--)
        if (is_equal_row(&message->rows[i - 1], &row))
            return (uint16_t)(i - 1);
    message->rows[message->row_count] = row;
    return (uint16_t)message->row_count++;
}

static void add_names(struct link_message *message, const struct batch *batch)
{
    char tag[MAX_TAG], bare[MAX_TAG - 2], rest[32];

    link_message_tag(message, batch->partition, bare, sizeof(bare));
    snprintf(tag, sizeof(tag), "{%s}", bare);
    snprintf(rest, sizeof(rest), "node:%" PRIx64, batch->node_id);
    add_name(message, tag, rest, strlen(rest));
    for (uint32_t i = 0; i < message->usage_count; i++) {
        snprintf(rest, sizeof(rest), "usage:%" PRIu32, message->tenants[i]);
        add_name(message, tag, rest, strlen(rest));
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_key *key = &batch->keys[i];
        add_cell_name(message, tag, key, key->window);
        if (key->kind == MERGE_SLIDING)
            add_cell_name(message, tag, key, (key->window - 1) & 0xffff);
    }
}

static int put_head(struct link_message *message, const struct batch *batch, uint64_t told_us)
{
    struct redis_buffer *blob = &message->blob;
    const size_t items = 6 + ROW_FIELDS * message->row_count +
                         (KEY_FIELDS - 1) * (batch->count - message->asking_count) +
                         KEY_FIELDS * message->asking_count;
    const uint8_t array[3] = {0xdc, (uint8_t)(items >> 8), (uint8_t)items};
    uint8_t incarnation[9] = {0xa8};
    const int64_t first[] = {(int64_t)told_us, (int64_t)batch->sequence};
    const int64_t last[] = {message->usage_count, message->row_count, batch->count};
    int result;

    memcpy(incarnation + 1, &batch->incarnation, 8);
    (void)((result = redis_buffer_append(blob, array, sizeof(array))) ||
           (result = put_all(blob, first, 2)) ||
           (result = redis_buffer_append(blob, incarnation, sizeof(incarnation))) ||
           (result = put_all(blob, last, 3)));
    return result;
}

static int put_blob(struct link_message *message, const struct batch *batch, uint64_t told_us)
{
    struct redis_buffer *blob = &message->blob;

    blob->len = 0;
    int result = put_head(message, batch, told_us);
    for (uint32_t i = 0; i < message->row_count && result == 0; i++) {
        const struct row *row = &message->rows[i];
        const int64_t fields[ROW_FIELDS] = {row->usage,
                                            (int64_t)row->kind,
                                            (int64_t)row->cap_us,
                                            (int64_t)row->expiry_ms,
                                            (int64_t)row->unit_us,
                                            row->unit_ticks,
                                            (int64_t)row->most,
                                            (int64_t)row->window_us,
                                            (int64_t)row->window};
        result = put_all(blob, fields, ROW_FIELDS);
    }
    for (uint32_t i = 0; i < batch->count && result == 0; i++) {
        const struct batch_key *key = &batch->keys[i];
        const struct merge_delta *delta = &key->delta;
        const int64_t fields[KEY_FIELDS] = {2 * message->row_of[i] + delta->resets,
                                            (int64_t)delta->base.epoch,
                                            (int64_t)delta->base.value,
                                            delta->charge,
                                            delta->ahead_us,
                                            key->units,
                                            key->wanted,
                                            key->ask.wanted};
        result = put_all(blob, fields, key->ask.wanted > 0 ? KEY_FIELDS : KEY_FIELDS - 1);
    }
    return result;
}

int link_message_format(struct link_message *message, const struct link_call *call,
                        const struct batch *batch, uint64_t told_us, struct redis_buffer *buffer)
{
    char count[8];

    message->word_count = message->usage_count = message->row_count = 0;
    message->name_len = 0;
    message->asking_count = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        message->row_of[i] = find_row(message, &batch->keys[i]);
        message->asking_count += batch->keys[i].ask.wanted > 0;
    }
    add_word(message, call->is_script ? "EVALSHA" : "FCALL", call->is_script ? 7 : 5);
    add_word(message, call->name, strlen(call->name));
    add_word(message, count, 0);
    add_names(message, batch);
    snprintf(count, sizeof(count), "%" PRIu32, message->word_count - 3);
    message->lens[2] = strlen(count);
    const int result = put_blob(message, batch, told_us);
    if (result)
        return result;
    add_word(message, message->blob.bytes, message->blob.len);
    return redis_format(buffer, (int)message->word_count, message->words, message->lens);
}

int link_message_format_beat(const struct link_message *message, const struct link_call *call,
                             const struct link_beat *beat, struct redis_buffer *buffer)
{
    char name[MAX_TAG], bare[MAX_TAG - 2], numbers[4][24];
    const char *words[10] = {call->is_script ? "EVALSHA" : "FCALL",
                             call->name,
                             "1",
                             name,
                             numbers[0],
                             numbers[1],
                             numbers[2],
                             beat->version,
                             numbers[3],
                             beat->leaves ? "1" : "0"};
    size_t lens[10];

    link_message_namespace_tag(message, bare, sizeof(bare));
    snprintf(name, sizeof(name), "{%s}", bare);
    snprintf(numbers[0], sizeof(numbers[0]), "%" PRIx64, beat->node_id);
    snprintf(numbers[1], sizeof(numbers[1]), "%" PRIx64, beat->token);
    snprintf(numbers[2], sizeof(numbers[2]), "%" PRIu32, beat->partitions);
    snprintf(numbers[3], sizeof(numbers[3]), "%" PRIu64, beat->told_us);
    for (int i = 0; i < 10; i++)
        lens[i] = strlen(words[i]);
    return redis_format(buffer, 10, words, lens);
}

/* One whole number that is not negative. */
static int take(const uint8_t **at, const uint8_t *end, uint64_t *ret_number)
{
    if (*at >= end)
        return -EPROTO;
    const uint8_t head = *(*at)++;
    if (head <= 127) {
        *ret_number = head;
        return 0;
    }
    if (head < 0xcc || head > 0xcf || end - *at < 1 << (head - 0xcc))
        return -EPROTO;
    *ret_number = 0;
    for (int i = 1 << (head - 0xcc); i > 0; i--)
        *ret_number = *ret_number << 8 | *(*at)++;
    return *ret_number <= MERGE_MAX ? 0 : -EPROTO;
}

/* The head of an array: how many items. */
static int take_array(const uint8_t **at, const uint8_t *end, uint64_t *ret_count)
{
    if (*at < end && (**at & 0xf0) == 0x90) {
        *ret_count = *(*at)++ & 0x0fu;
        return 0;
    }
    if (end - *at < 3 || **at != 0xdc)
        return -EPROTO;
    *ret_count = (uint64_t)(*at)[1] << 8 | (*at)[2];
    *at += 3;
    return 0;
}

/* What is not 0 in few answers only, each at its place. */
static int take_extras(const uint8_t **at, const uint8_t *end, struct batch_answer *answer)
{
    while (*at < end) {
        uint64_t place, previous, granted;
        if (take(at, end, &place) || place < 1 || place > answer->count ||
            take(at, end, &previous) || take(at, end, &granted) || granted > UINT32_MAX)
            return -EPROTO;
        answer->keys[place - 1].previous = previous;
        answer->keys[place - 1].granted = (uint32_t)granted;
    }
    return 0;
}

int link_message_parse(const char *bytes, size_t len, struct batch_answer *ret_answer,
                       uint32_t *ret_foreign)
{
    const uint8_t *at = (const uint8_t *)bytes, *end = at + len;
    uint64_t items, outcome, foreign, count;

    if (take_array(&at, end, &items) || items < ANSWER_HEAD || take(&at, end, &outcome) ||
        outcome > MERGE_NEW || take(&at, end, &ret_answer->store_now_us) ||
        take(&at, end, &foreign) || foreign > BATCH_MAX_KEYS || take(&at, end, &count) ||
        count > BATCH_MAX_KEYS || items < ANSWER_HEAD + ANSWER_FIELDS * count ||
        items > ANSWER_HEAD + 2 * ANSWER_FIELDS * count ||
        (items - ANSWER_HEAD) % ANSWER_FIELDS != 0)
        return -EPROTO;
    ret_answer->outcome = (enum merge_batch)outcome;
    ret_answer->count = (uint32_t)count;
    *ret_foreign = (uint32_t)foreign;
    for (uint32_t i = 0; i < ret_answer->count; i++) {
        struct batch_answer_key *key = &ret_answer->keys[i];
        key->previous = key->granted = 0;
        if (take(&at, end, &key->cell.epoch) || take(&at, end, &key->cell.value) ||
            take(&at, end, &key->demand))
            return -EPROTO;
    }
    return take_extras(&at, end, ret_answer);
}
