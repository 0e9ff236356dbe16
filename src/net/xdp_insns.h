/* Instructions of an XDP program as C writes them, one after the other, with jumps to labels: for
 * net/xdp_program.c and net/xdp_program_carry.c. */
#ifndef METE_NET_XDP_INSNS_H
#define METE_NET_XDP_INSNS_H

#include <linux/bpf.h>
#include <stdint.h>

#include "net/xdp_program.h"

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
    LABEL_NEXT,
    LABEL_REDIRECT,
    LABEL_AWAKE,
    LABEL_UNSENT
};
#define NO_LABEL (-1)

struct writer {
    struct bpf_insn *insns;
    int8_t label[XDP_PROGRAM_MAX_INSNS]; /* of each instruction, if it is a jump yet open */
    unsigned count;
};

static inline void emit(struct writer *writer, struct bpf_insn insn, int label)
{
    writer->label[writer->count] = (int8_t)label;
    writer->insns[writer->count++] = insn;
}

static inline void emit_move(struct writer *writer, unsigned to, unsigned from)
{
    emit(writer,
         (struct bpf_insn){
             .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = to & 0xF, .src_reg = from & 0xF},
         NO_LABEL);
}

static inline void emit_add(struct writer *writer, unsigned to, int32_t number)
{
    /* NOLINTBEGIN(misc-redundant-expression): two of the names happen to be 0 */
    emit(writer,
         (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = to & 0xF, .imm = number},
         NO_LABEL);
    /* NOLINTEND(misc-redundant-expression) */
}

static inline void emit_load(struct writer *writer, unsigned size, unsigned to, unsigned from,
                             int offset)
{
    emit(writer,
         (struct bpf_insn){.code = (uint8_t)(BPF_LDX | BPF_MEM | size),
                           .dst_reg = to & 0xF,
                           .src_reg = from & 0xF,
                           .off = (int16_t)offset},
         NO_LABEL);
}

/* Compares the lower half of a register. */
static inline void emit_if(struct writer *writer, unsigned condition, unsigned reg, uint32_t number,
                           enum label label)
{
    emit(writer,
         (struct bpf_insn){.code = (uint8_t)(BPF_JMP32 | condition | BPF_K),
                           .dst_reg = reg & 0xF,
                           .imm = (int32_t)number},
         (int)label);
}

static inline void emit_goto(struct writer *writer, enum label label)
{
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_JA}, (int)label);
}

/* Passes on what ends before offset. */
static inline void emit_need(struct writer *writer, int offset)
{
    emit_move(writer, VALUE, FRAME);
    emit_add(writer, VALUE, offset);
    emit(writer,
         (struct bpf_insn){.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = VALUE, .src_reg = END},
         LABEL_PASS);
}

/* The jumps to this label lead to what is written next. Jumps never go back. */
static inline void place(struct writer *writer, enum label label)
{
    for (unsigned i = 0; i < writer->count; i++) {
        if (writer->label[i] != (int)label)
            continue;
        writer->insns[i].off = (int16_t)(writer->count - i - 1);
        writer->label[i] = NO_LABEL;
    }
}

static inline void emit_number(struct writer *writer, unsigned to, int32_t number)
{
    emit(writer,
         (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = to & 0xF, .imm = number},
         NO_LABEL);
}

static inline void emit_call(struct writer *writer, int32_t helper)
{
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = helper}, NO_LABEL);
}

/* The map itself, for a helper. */
static inline void emit_map(struct writer *writer, unsigned to, int map)
{
    emit(writer,
         /* NOLINTNEXTLINE(misc-redundant-expression): two of the names happen to be 0 */
         (struct bpf_insn){.code = BPF_LD | BPF_DW | BPF_IMM,
                           .dst_reg = to & 0xF,
                           .src_reg = BPF_PSEUDO_MAP_FD,
                           .imm = map},
         NO_LABEL);
    emit(writer, (struct bpf_insn){0}, NO_LABEL); /* the upper half of the number */
}

static inline void emit_return(struct writer *writer, int32_t verdict)
{
    emit_number(writer, BPF_REG_0, verdict);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT}, NO_LABEL);
}

#endif
