/* What comes from Redis: any bytes as replies, cut anywhere, and any text as an answer to a batch,
 * a map of slots (through the reader) or a redirection. What is read out must be whole: texts end
 * with a zero, arrays have no holes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/redis_url.h"
#include "obs/assert.h"
#include "replica/link_message.h"
#include "replica/redis.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void look(const struct redis_value *value)
{
    static struct batch_answer answer;
    uint32_t foreign;

    switch (value->kind) {
    case REDIS_KIND_TEXT:
    case REDIS_KIND_ERROR:
        ASSERT(value->text[value->len] == '\0');
        if (link_message_parse(value->text, value->len, &answer, &foreign) == 0)
            ASSERT(answer.count <= BATCH_MAX_KEYS && foreign <= BATCH_MAX_KEYS);
        break;
    case REDIS_KIND_ARRAY:
        for (size_t i = 0; i < value->count; i++)
            look(value->items[i]);
        break;
    case REDIS_KIND_INTEGER:
    case REDIS_KIND_NIL:
        break;
    }
}

static void read_replies(const uint8_t *bytes, size_t len, size_t piece)
{
    struct redis_reader *reader = redis_reader_create();
    struct redis_value *value;

    for (size_t at = 0; at < len; at += piece) {
        if (redis_reader_feed(reader, bytes + at, len - at < piece ? len - at : piece))
            break;
        int result;
        while ((result = redis_reader_next(reader, &value)) == 1) {
            look(value);
            redis_value_free(value);
        }
        if (result < 0)
            break;
    }
    redis_reader_destroy(reader);
}

static void read_texts(const uint8_t *bytes, size_t len)
{
    static struct batch_answer answer;
    struct redis_address address;
    struct redis_url url;
    char error[100];
    uint32_t foreign;
    char *text = malloc(len + 1);

    memcpy(text, bytes, len);
    text[len] = '\0';
    link_message_parse(text, len, &answer, &foreign);
    if (redis_address_parse(text, len, &address, NULL, 0) == 0)
        ASSERT(address.host[0] != '\0' && address.port[0] != '\0');
    if (redis_url_parse(text, &url, error, sizeof(error)) == 0)
        ASSERT(url.seed_count >= 1 && url.seed_count <= REDIS_MAX_SEEDS);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    read_replies(bytes, len, len + 1);
    read_replies(bytes, len, 3);
    read_texts(bytes, len);
    return 0;
}
