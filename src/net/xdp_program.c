#include "net/xdp_program.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "net/xdp_insns.h"
#include "net/xdp_program_carry.h"

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86DD
#define TYPE_TAGGED 0x8100
#define TAG_NUMBER 0x0FFF
#define FRAGMENT_BITS 0x3FFF /* more to come, or not the first */

/* Where things stand in a frame without a tag; with one, register FRAME points 4 bytes later, so
 * that the same offsets hold from the inner type on. */
enum { ETH_TYPE = 12, ETH_TAG = 14, ETH_INNER_TYPE = 16, IP = 14 };
enum { V4_FRAGMENT = IP + 6, V4_PROTOCOL = IP + 9, V4_SOURCE = IP + 12, V4_TARGET = IP + 16 };
enum { V4_PORT = IP + 22, V4_END = IP + 28 };
enum { V6_NEXT = IP + 6, V6_SOURCE = IP + 8, V6_TARGET = IP + 24, V6_PORT = IP + 42 };
enum { V6_SUM = IP + 46, V6_END = IP + 48 };
#define TAG_BYTES 4

static void write_ethernet(struct writer *writer, const struct xdp_program *program)
{
    uint32_t mac_start;
    uint16_t mac_end;
    memcpy(&mac_start, program->mac, 4);
    memcpy(&mac_end, program->mac + 4, 2);
    emit_need(writer, V4_END);
    emit_load(writer, BPF_W, VALUE, FRAME, 0);
    emit_if(writer, BPF_JNE, VALUE, mac_start, LABEL_PASS);
    emit_load(writer, BPF_H, VALUE, FRAME, 4);
    emit_if(writer, BPF_JNE, VALUE, mac_end, LABEL_PASS);
    emit_load(writer, BPF_H, PORT, FRAME, ETH_TYPE);
    emit_if(writer, BPF_JNE, PORT, htons(TYPE_TAGGED), LABEL_UNTAGGED);
    emit_need(writer, V4_END + TAG_BYTES);
    emit_load(writer, BPF_H, VALUE, FRAME, ETH_TAG);
    emit(writer,
         (struct bpf_insn){
             .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = VALUE, .imm = htons(TAG_NUMBER)},
         NO_LABEL);
    emit_if(writer, BPF_JNE, VALUE, htons(program->vlan), LABEL_PASS);
    emit_load(writer, BPF_H, PORT, FRAME, ETH_INNER_TYPE);
    emit_add(writer, FRAME, TAG_BYTES);
    emit_goto(writer, LABEL_NETWORK);
    place(writer, LABEL_UNTAGGED);
    if (program->vlan)
        emit_goto(writer, LABEL_PASS);
    place(writer, LABEL_NETWORK);
    emit_if(writer, BPF_JEQ, PORT, htons(TYPE_IPV4), LABEL_V4);
    emit_if(writer, BPF_JEQ, PORT, htons(TYPE_IPV6), LABEL_V6);
    emit_goto(writer, LABEL_PASS);
}

/* The kernel drops sources of 0/8, 127/8 and 224/3 as martians: that stays its business. */
static void write_v4(struct writer *writer, const struct xdp_program *program)
{
    place(writer, LABEL_V4);
    emit_load(writer, BPF_B, VALUE, FRAME, IP);
    emit_if(writer, BPF_JNE, VALUE, 0x45, LABEL_PASS);
    emit_load(writer, BPF_B, VALUE, FRAME, V4_PROTOCOL);
    emit_if(writer, BPF_JNE, VALUE, IPPROTO_UDP, LABEL_PASS);
    emit_load(writer, BPF_H, PORT, FRAME, V4_PORT);
    emit_load(writer, BPF_H, VALUE, FRAME, V4_FRAGMENT);
    emit_if(writer, BPF_JSET, VALUE, htons(FRAGMENT_BITS), LABEL_PASS);
    emit_load(writer, BPF_B, VALUE, FRAME, V4_SOURCE);
    emit_if(writer, BPF_JEQ, VALUE, 0, LABEL_PASS);
    emit_if(writer, BPF_JEQ, VALUE, 127, LABEL_PASS);
    emit_if(writer, BPF_JGE, VALUE, 224, LABEL_PASS);
    emit_load(writer, BPF_W, VALUE, FRAME, V4_TARGET);
    for (unsigned i = 0; i < program->target_count; i++) {
        const struct sockaddr_in *target = (const void *)&program->targets[i];
        if (target->sin_family != AF_INET)
            continue;
        emit_if(writer, BPF_JNE, PORT, target->sin_port, LABEL_NEXT);
        emit_if(writer, BPF_JEQ, VALUE, target->sin_addr.s_addr, LABEL_TAKE);
        place(writer, LABEL_NEXT);
    }
    emit_goto(writer, LABEL_PASS);
}

/* The kernel drops a missing checksum, multicast sources and those whose first half is zeroes
 * (unspecified, loopback, IPv4 addresses in disguise), so they are left to it. */
static void write_v6(struct writer *writer, const struct xdp_program *program)
{
    place(writer, LABEL_V6);
    emit_need(writer, V6_END);
    emit_load(writer, BPF_B, VALUE, FRAME, IP);
    emit(writer,
         (struct bpf_insn){.code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = VALUE, .imm = 0xF0},
         NO_LABEL);
    emit_if(writer, BPF_JNE, VALUE, 0x60, LABEL_PASS);
    emit_load(writer, BPF_B, VALUE, FRAME, V6_NEXT);
    emit_if(writer, BPF_JNE, VALUE, IPPROTO_UDP, LABEL_PASS);
    emit_load(writer, BPF_H, VALUE, FRAME, V6_SUM);
    emit_if(writer, BPF_JEQ, VALUE, 0, LABEL_PASS);
    emit_load(writer, BPF_B, VALUE, FRAME, V6_SOURCE);
    emit_if(writer, BPF_JEQ, VALUE, 0xFF, LABEL_PASS);
    emit_load(writer, BPF_W, VALUE, FRAME, V6_SOURCE);
    emit_load(writer, BPF_W, PORT, FRAME, V6_SOURCE + 4);
    emit(writer,
         (struct bpf_insn){.code = BPF_ALU64 | BPF_OR | BPF_X, .dst_reg = VALUE, .src_reg = PORT},
         NO_LABEL);
    emit_if(writer, BPF_JEQ, VALUE, 0, LABEL_PASS);
    emit_load(writer, BPF_H, PORT, FRAME, V6_PORT);
    for (unsigned i = 0; i < program->target_count; i++) {
        const struct sockaddr_in6 *target = (const void *)&program->targets[i];
        if (target->sin6_family != AF_INET6)
            continue;
        emit_if(writer, BPF_JNE, PORT, target->sin6_port, LABEL_NEXT);
        for (unsigned word = 0; word < 4; word++) {
            emit_load(writer, BPF_W, VALUE, FRAME, V6_TARGET + 4 * (int)word);
            emit_if(writer, word < 3 ? BPF_JNE : BPF_JEQ, VALUE, target->sin6_addr.s6_addr32[word],
                    word < 3 ? LABEL_NEXT : LABEL_TAKE);
        }
        place(writer, LABEL_NEXT);
    }
    emit_goto(writer, LABEL_PASS);
}

static void write_ends(struct writer *writer, const struct xdp_program *program)
{
    place(writer, LABEL_TAKE);
    if (program->carry_map >= 0)
        xdp_program_write_carry(writer, program->carry_map);
    place(writer, LABEL_REDIRECT);
    emit_load(writer, BPF_W, BPF_REG_2, CONTEXT, offsetof(struct xdp_md, rx_queue_index));
    emit_map(writer, BPF_REG_1, program->sockets_map);
    emit_number(writer, BPF_REG_3, XDP_PASS);
    emit_call(writer, BPF_FUNC_redirect_map);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT}, NO_LABEL);
    place(writer, LABEL_PASS);
    emit_return(writer, XDP_PASS);
}

unsigned xdp_program_write(const struct xdp_program *program, struct bpf_insn *ret_insns)
{
    struct writer writer = {.insns = ret_insns};
    emit_move(&writer, CONTEXT, BPF_REG_1);
    emit_load(&writer, BPF_W, FRAME, BPF_REG_1, offsetof(struct xdp_md, data));
    emit_load(&writer, BPF_W, END, BPF_REG_1, offsetof(struct xdp_md, data_end));
    write_ethernet(&writer, program);
    write_v4(&writer, program);
    write_v6(&writer, program);
    write_ends(&writer, program);
    return writer.count;
}
