/* Replies become values of our own, so that nobody else depends on hiredis, and arrays that no
 * Redis sends are refused before anything is reserved for them. */
#include "replica/redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

struct redis_reader {
    redisReader *reader;
};

static void wipe(struct redis_buffer *buffer)
{
    if (buffer->holds_secret && buffer->bytes)
        explicit_bzero(buffer->bytes, buffer->size);
}

void redis_buffer_empty(struct redis_buffer *buffer)
{
    wipe(buffer);
    buffer->holds_secret = false;
    buffer->len = 0;
}

int redis_buffer_append(struct redis_buffer *buffer, const void *bytes, size_t len)
{
    if (buffer->size - buffer->len < len) {
        size_t size = buffer->size ? buffer->size : 4096;
        while (size - buffer->len < len)
            size *= 2;
        char *grown = malloc(size); /* not realloc(), which leaves a copy behind */
        if (!grown)
            return -ENOMEM;
        if (buffer->len > 0)
            memcpy(grown, buffer->bytes, buffer->len);
        wipe(buffer);
        free(buffer->bytes);
        buffer->bytes = grown;
        buffer->size = size;
    }
    if (len > 0)
        memcpy(buffer->bytes + buffer->len, bytes, len);
    buffer->len += len;
    return 0;
}

void redis_buffer_free(struct redis_buffer *buffer)
{
    wipe(buffer);
    free(buffer->bytes);
    *buffer = (struct redis_buffer){0};
}

int redis_format(struct redis_buffer *buffer, int count, const char *const *words,
                 const size_t *lens)
{
    sds command = NULL;
    const int len = redisFormatSdsCommandArgv(&command, count, (const char **)words, lens);

    if (len < 0)
        return -ENOMEM;
    const int result = redis_buffer_append(buffer, command, (size_t)len);
    if (buffer->holds_secret)
        explicit_bzero(command, (size_t)len);
    redisFreeSdsCommand(command);
    return result;
}

void redis_value_free(struct redis_value *value)
{
    if (!value)
        return;
    for (size_t i = 0; i < value->count; i++)
        redis_value_free(value->items[i]);
    free(value->items);
    free(value->text);
    free(value);
}

static struct redis_value *attach(const redisReadTask *task, struct redis_value *value)
{
    if (value && task->parent) {
        struct redis_value *parent = task->parent->obj;
        parent->items[task->idx] = value;
    }
    return value;
}

static struct redis_value *new_value(enum redis_kind kind)
{
    struct redis_value *value = calloc(1, sizeof(*value));

    if (value)
        value->kind = kind;
    return value;
}

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_value *value =
        new_value(task->type == REDIS_REPLY_ERROR ? REDIS_KIND_ERROR : REDIS_KIND_TEXT);

    if (!value || !(value->text = malloc(len + 1))) {
        free(value);
        return NULL;
    }
    memcpy(value->text, text, len);
    value->text[len] = '\0';
    value->len = len;
    return attach(task, value);
}

static void *on_array(const redisReadTask *task, int count)
{
    struct redis_value *value = NULL;

    if (count < 0 || count > REDIS_MAX_ITEMS || !(value = new_value(REDIS_KIND_ARRAY)))
        return NULL;
    if (count > 0 && !(value->items = calloc((size_t)count, sizeof(struct redis_value *)))) {
        free(value);
        return NULL;
    }
    value->count = (size_t)count;
    return attach(task, value);
}

static void *on_integer(const redisReadTask *task, long long integer)
{
    struct redis_value *value = new_value(REDIS_KIND_INTEGER);

    if (value)
        value->integer = integer;
    return attach(task, value);
}

static void *on_nil(const redisReadTask *task)
{
    return attach(task, new_value(REDIS_KIND_NIL));
}

static void on_free(void *value)
{
    redis_value_free(value);
}

static redisReplyObjectFunctions value_functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
    .freeObject = on_free,
};

struct redis_reader *redis_reader_create(void)
{
    struct redis_reader *reader = calloc(1, sizeof(*reader));

    if (reader && !(reader->reader = redisReaderCreateWithFunctions(&value_functions))) {
        free(reader);
        return NULL;
    }
    return reader;
}

void redis_reader_destroy(struct redis_reader *reader)
{
    if (!reader)
        return;
    redisReaderFree(reader->reader);
    free(reader);
}

int redis_reader_feed(struct redis_reader *reader, const void *bytes, size_t len)
{
    if (reader->reader->len - reader->reader->pos + len > REDIS_MAX_UNREAD)
        return -EPROTO;
    return redisReaderFeed(reader->reader, bytes, len) == REDIS_OK ? 0 : -ENOMEM;
}

int redis_reader_next(struct redis_reader *reader, struct redis_value **ret_value)
{
    void *value = NULL;

    if (redisReaderGetReply(reader->reader, &value) != REDIS_OK)
        return -EPROTO;
    if (!value)
        return 0;
    *ret_value = value;
    return 1;
}
