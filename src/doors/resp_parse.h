/* RESP, the request side: bytes to the words of one command. Pure: no memory, no state between
 * calls; what is not whole is asked for again with more bytes.
 *
 * Source: the Redis serialization protocol specification, redis.io/docs/reference/protocol-spec.
 *
 *   *2\r\n $4\r\nPING\r\n $2\r\nhi\r\n     an array of bulk strings, as every client sends it
 *   PING hi\r\n                            inline: words between blanks, for people; "..." or '...'
 *                                          hold blanks, without escapes
 *
 * Bounds: RESP_MAX_WORDS words of RESP_MAX_BULK bytes, RESP_MAX_COMMAND in all. A length beyond
 * them is refused as soon as it is read, not after its bytes have come. */
#ifndef METE_DOORS_RESP_PARSE_H
#define METE_DOORS_RESP_PARSE_H

#include <stddef.h>
#include <stdint.h>

#define RESP_MAX_WORDS 64u
#define RESP_MAX_BULK 4096u
#define RESP_MAX_COMMAND 16000u /* below LOOP_INPUT_BYTES: what is longer is told so */

enum resp_parse_result {
    RESP_WHOLE, /* *ret_used bytes were one command; count 0: nothing was asked (an empty line) */
    RESP_HALF,  /* more bytes are needed */
    RESP_BROKEN /* error says how; nothing behind it can be understood */
};

struct resp_word {
    const uint8_t *bytes; /* in what was parsed */
    size_t len;
};

struct resp_command {
    struct resp_word words[RESP_MAX_WORDS];
    unsigned count;
    const char *error; /* one line without "-ERR" */
};

enum resp_parse_result resp_parse(const uint8_t *bytes, size_t len,
                                  struct resp_command *ret_command, size_t *ret_used);

#endif
