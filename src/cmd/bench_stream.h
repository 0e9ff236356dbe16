/* A flow over a stream: a connection to a door, requests pipelined on it and their answers, in
 * order.
 *
 * A slot whose answer did not come in time is given up as lost, but stays taken until the answer
 * comes, late: else nobody knew whose the next one is. A connection that ends takes all that is in
 * flight on it along, and is not made again. One thread each. */
#ifndef METE_CMD_BENCH_STREAM_H
#define METE_CMD_BENCH_STREAM_H

#include "cmd/bench_flow.h"
#include "cmd/bench_loop.h"

struct flow_stream {
    const struct bench_server *server; /* door, words and request */
    unsigned next;                     /* slot that the next answer is of */
    uint64_t asked;                    /* requests so far */
    size_t in_len;
    size_t out_len, out_sent;
    size_t out_size;
    uint8_t *out; /* requests that the system did not take yet */
    uint8_t *in;
};

/* Finds the server, logs in, asks once. 0, EXIT_USAGE or EXIT_NO_ANSWER after one line on stderr.
 */
int bench_stream_hello(const struct bench_options *options, struct bench_server *ret_server);

/* The connection of a flow whose slots are there; its requests are written. 0, or a negative errno.
 */
int stream_open(const struct bench_server *server, struct flow *flow);
void stream_close(struct flow *flow);

/* Writes the subject into a slot's request; its length. */
uint16_t stream_fill(struct flow *flow, unsigned index, uint64_t subject);
void stream_send(struct flow *flow, const uint16_t *slots, unsigned count);
/* As bench_receive(). */
bool stream_receive(struct bench_thread *thread, struct flow *flow);

#endif
