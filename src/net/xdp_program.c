#include "net/xdp_program.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

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

/* The verifier knows register 6 to survive the call; the others are free. */
enum { VALUE = BPF_REG_4, PORT = BPF_REG_5, FRAME = BPF_REG_7, END = BPF_REG_8 };
enum { CONTEXT = BPF_REG_6 };

/* Where a jump goes that is written before its target is: patched when that is known. */
enum label {
    LABEL_PASS,
    LABEL_TAKE,
    LABEL_UNTAGGED,
    LABEL_NETWORK,
    LABEL_V4,
    LABEL_V6,
    LABEL_NEXT
};
#define NO_LABEL (-1)

struct writer {
    struct bpf_insn *insns;
    int8_t label[XDP_PROGRAM_MAX_INSNS]; /* of each instruction, if it is a jump yet open */
    unsigned count;
};

static void emit(struct writer *writer, struct bpf_insn insn, int label)
{
    writer->label[writer->count] = (int8_t)label;
    writer->insns[writer->count++] = insn;
}

static void emit_move(struct writer *writer, unsigned to, unsigned from)
{
    emit(writer,
         (struct bpf_insn){
             .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = to & 0xF, .src_reg = from & 0xF},
         NO_LABEL);
}

static void emit_add(struct writer *writer, unsigned to, int32_t number)
{
    emit(writer,
         (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = to & 0xF, .imm = number},
         NO_LABEL);
}

static void emit_load(struct writer *writer, unsigned size, unsigned to, unsigned from, int offset)
{
    emit(writer,
         (struct bpf_insn){.code = (uint8_t)(BPF_LDX | BPF_MEM | size),
                           .dst_reg = to & 0xF,
                           .src_reg = from & 0xF,
                           .off = (int16_t)offset},
         NO_LABEL);
}

/* Compares the lower half of a register. */
static void emit_if(struct writer *writer, unsigned condition, unsigned reg, uint32_t number,
                    enum label label)
{
    emit(writer,
         (struct bpf_insn){.code = (uint8_t)(BPF_JMP32 | condition | BPF_K),
                           .dst_reg = reg & 0xF,
                           .imm = (int32_t)number},
         (int)label);
}

static void emit_goto(struct writer *writer, enum label label)
{
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_JA}, (int)label);
}

/* Passes on what ends before offset. */
static void emit_need(struct writer *writer, int offset)
{
    emit_move(writer, VALUE, FRAME);
    emit_add(writer, VALUE, offset);
    emit(writer,
         (struct bpf_insn){.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = VALUE, .src_reg = END},
         LABEL_PASS);
}

/* The jumps to this label lead to what is written next. Jumps never go back. */
static void place(struct writer *writer, enum label label)
{
    for (unsigned i = 0; i < writer->count; i++) {
        if (writer->label[i] != (int)label)
            continue;
        writer->insns[i].off = (int16_t)(writer->count - i - 1);
        writer->label[i] = NO_LABEL;
    }
}

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
    emit_load(writer, BPF_W, BPF_REG_2, CONTEXT, offsetof(struct xdp_md, rx_queue_index));
    emit(writer,
         (struct bpf_insn){.code = BPF_LD | BPF_DW | BPF_IMM,
                           .dst_reg = BPF_REG_1,
                           .src_reg = BPF_PSEUDO_MAP_FD,
                           .imm = program->sockets_map},
         NO_LABEL);
    emit(writer, (struct bpf_insn){0}, NO_LABEL); /* the upper half of the number */
    emit(writer,
         (struct bpf_insn){
             .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS},
         NO_LABEL);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
         NO_LABEL);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT}, NO_LABEL);
    place(writer, LABEL_PASS);
    emit(writer,
         (struct bpf_insn){
             .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
         NO_LABEL);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT}, NO_LABEL);
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
