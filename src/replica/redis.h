/* The protocol of Redis as bytes: commands are formatted into a buffer, replies are read out of
 * what came. redis.c is the only file that knows hiredis; sockets, time and order are the caller's
 * (link_peer.h). One thread per object. */
#ifndef METE_REPLICA_REDIS_H
#define METE_REPLICA_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_kind {
    REDIS_KIND_TEXT, /* strings and statuses */
    REDIS_KIND_INTEGER,
    REDIS_KIND_NIL,
    REDIS_KIND_ERROR,
    REDIS_KIND_ARRAY,
};

struct redis_value {
    enum redis_kind kind;
    int64_t integer;
    char *text; /* of texts and errors; ends with a zero that len does not count */
    size_t len;
    struct redis_value **items; /* of arrays; none is NULL */
    size_t count;
};

struct redis_buffer { /* zeros at first */
    char *bytes;
    size_t len, size;
    bool holds_secret; /* what is left behind anywhere is wiped */
};

/* Results: 0, -ENOMEM. */
int redis_buffer_append(struct redis_buffer *buffer, const void *bytes, size_t len);
void redis_buffer_empty(struct redis_buffer *buffer); /* holds no secret then */
void redis_buffer_free(struct redis_buffer *buffer);

/* Appends a command of words that may hold any bytes. Results: 0, -ENOMEM. */
int redis_format(struct redis_buffer *buffer, int count, const char *const *words,
                 const size_t *lens);

#define REDIS_MAX_ITEMS 65536      /* of an array that is believed */
#define REDIS_MAX_UNREAD (4 << 20) /* bytes of an unfinished reply that are kept */

struct redis_reader;

/* NULL: no memory. */
struct redis_reader *redis_reader_create(void);
void redis_reader_destroy(struct redis_reader *reader);

/* Results: 0, -ENOMEM, -EPROTO (more is unread than any reply has). */
int redis_reader_feed(struct redis_reader *reader, const void *bytes, size_t len);

/* Results: 1 (*ret_value is the caller's), 0 (more bytes are needed), -EPROTO (this is not Redis).
 */
int redis_reader_next(struct redis_reader *reader, struct redis_value **ret_value);
void redis_value_free(struct redis_value *value);

#endif
