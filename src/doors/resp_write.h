/* RESP, the answering side: values to bytes, in protocol 2 or 3. Pure. The caller sees to the room:
 * every value but text takes at most RESP_VALUE_BYTES, text its length and that much. */
#ifndef METE_DOORS_RESP_WRITE_H
#define METE_DOORS_RESP_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct loop_output;

#define RESP_VALUE_BYTES 32u

void resp_write_array(struct loop_output *out, size_t count);
/* A map of so many pairs: in protocol 2 an array of twice as many. */
void resp_write_map(struct loop_output *out, unsigned protocol, size_t pairs);
void resp_write_integer(struct loop_output *out, int64_t number);
void resp_write_bulk(struct loop_output *out, const void *bytes, size_t len);
void resp_write_text(struct loop_output *out, const char *text); /* a bulk string */
void resp_write_null(struct loop_output *out, unsigned protocol);
void resp_write_simple(struct loop_output *out, const char *text); /* +OK */
/* "-" and the text, whose first word is the kind of the error. What is not printable ASCII in it
 * becomes '?', so that an error is one line whatever it quotes; it is cut after 200 bytes. */
void resp_write_error(struct loop_output *out, const char *text);

#endif
