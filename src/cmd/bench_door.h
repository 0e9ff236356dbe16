/* Loads over streams: what `mete bench --door NAME` asks and hears. A door is one row of functions
 * over bytes; bench_stream.c moves the bytes of all of them, and both loops, the histograms and the
 * reports are those of the datagrams.
 *
 * A request is made once and has one place for the subject, 16 hexadecimal digits of its key
 * (hyphens: nobody's); so
 * each costs the load a copy of those. Answers come in the order of the requests. One thread each,
 * but for doors and words, which are only read. */
#ifndef METE_CMD_BENCH_DOOR_H
#define METE_CMD_BENCH_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOOR_REQUEST_BYTES 1024u
#define DOOR_SUBJECT_BYTES 16u
#define DOOR_MAX_KEY 256u

struct door_words { /* what a request is made of */
    const char *rule;
    uint32_t cost;   /* 0 only asks */
    const char *ask; /* with {} for the subject, in place of rule and cost; or NULL */
    const char *key; /* of the API; or NULL */
};

struct door_request {
    uint8_t bytes[DOOR_REQUEST_BYTES];
    size_t len; /* 0: none */
    size_t subject_at;
};

struct door_answer {
    uint8_t status; /* enum mete_status; METE_STATUS_COUNT: any other */
    bool is_allowed;
    uint32_t remaining;
    uint64_t reset_after_ns;
};

enum door_heard {
    DOOR_HALF,   /* more bytes are needed */
    DOOR_WHOLE,  /* *ret_used bytes were one answer */
    DOOR_BROKEN, /* not of this protocol */
};

struct bench_door {
    const char *name;
    const char *server; /* its usual place */
    /* What a connection begins with, and is answered once; len 0: nothing. False: the words are too
     * long. */
    bool (*begin)(const struct door_words *words, struct door_request *ret_request);
    bool (*ask)(const struct door_words *words, struct door_request *ret_request);
    /* Writes into a request which one it is on its connection, from 0; or NULL. */
    void (*number)(uint8_t *bytes, uint64_t position);
    enum door_heard (*hear)(const struct door_words *words, const uint8_t *bytes, size_t len,
                            size_t *ret_used, struct door_answer *ret_answer);
};

extern const struct bench_door bench_door_grpc;
extern const struct bench_door bench_door_resp;
extern const struct bench_door bench_door_http;

/* NULL: there is none of that name. */
const struct bench_door *bench_door_find(const char *name);

/* Appends text to the request, its first {} replaced by a place for the subject. False: no room. */
bool bench_door_put(struct door_request *request, const char *text);

#endif
