/* The part of the XDP program by which an answer leaves in the frame of a question
 * (net/xdp_carry.h says how the two sides agree). */
#ifndef METE_NET_XDP_PROGRAM_CARRY_H
#define METE_NET_XDP_PROGRAM_CARRY_H

struct writer;

/* The frame is ours. Ends the program with XDP_TX, or goes to LABEL_REDIRECT with the frame as it
 * came: when no answer waits, when another processor was faster, when the frame is longer than a
 * place, or in pieces, or cannot be made as long as the answer. */
void xdp_program_write_carry(struct writer *writer, int carry_map);

#endif
