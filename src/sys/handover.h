/* Messages between two processes of one host over a connected UNIX stream socket: a kind, bytes and
 * descriptors. What a running daemon gives to the one that takes its place goes this way.
 *
 * A message is a head of 16 bytes, with which the descriptors travel (SCM_RIGHTS, unix(7)), and its
 * bytes. Each wait for the other side is bounded by `patience_ms` without any progress: who stands
 * still or is gone ends the conversation, never the process that waits for it.
 *
 * Threads: one at a time for each descriptor. */
#ifndef METE_SYS_HANDOVER_H
#define METE_SYS_HANDOVER_H

#include <stddef.h>
#include <stdint.h>

#define HANDOVER_MAX_FDS 128u     /* of one message; the kernel takes 253 */
#define HANDOVER_MAX_BYTES 16384u /* of one message */

struct handover_message {
    uint16_t kind;
    uint16_t fd_count;
    uint32_t len;
    const void *bytes;
    const int *fds; /* stay the sender's */
};

struct handover_room { /* what came */
    uint16_t kind;
    uint16_t fd_count;
    uint32_t len;
    int fds[HANDOVER_MAX_FDS]; /* the receiver's; closed on exec */
    _Alignas(16) uint8_t bytes[HANDOVER_MAX_BYTES];
};

/* Results: 0, -ETIMEDOUT, or the negative errno (-EPIPE: the other side is gone). */
int handover_send(int fd, const struct handover_message *message, int patience_ms);

/* Results: 0; -EBADMSG (what came is no message: its first bytes, at most 16, are in bytes and
 * counted in len), -ECONNRESET (the other side is gone), -ETIMEDOUT, or the negative errno. Nothing
 * is left open but with 0. */
int handover_receive(int fd, struct handover_room *ret_room, int patience_ms);

/* Large memory, without a head. Results as above. */
int handover_send_bytes(int fd, const void *bytes, size_t len, int patience_ms);
int handover_receive_bytes(int fd, void *ret_bytes, size_t len, int patience_ms);

#endif
