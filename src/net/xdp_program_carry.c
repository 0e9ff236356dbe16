#include "net/xdp_program_carry.h"

#include <stdbool.h>
#include <stddef.h>

#include "net/xdp_carry.h"
#include "net/xdp_insns.h"

/* What survives calls. CONTEXT is register 6. */
enum { SHARED = BPF_REG_7, WORD_AT = BPF_REG_8, LEN = BPF_REG_9 };
enum { STACK_QUEUE = -4, STACK_WORD = -8 };
enum { CLAIMED = offsetof(struct xdp_carry_shared, claimed) };
enum { OFFERED = offsetof(struct xdp_carry_shared, offered) };
enum { ASLEEP = offsetof(struct xdp_carry_shared, asleep) };
enum { WORDS = offsetof(struct xdp_carry_shared, words) };
enum { FRAMES = offsetof(struct xdp_carry_shared, frames) };

_Static_assert(XDP_CARRY_FRAME_BYTES == 1 << 8, "emit_frame() shifts by 8");

static void emit_alu(struct writer *writer, unsigned operation, unsigned to, int32_t number)
{
    emit(writer,
         (struct bpf_insn){
             .code = (uint8_t)(BPF_ALU64 | operation | BPF_K), .dst_reg = to & 0xF, .imm = number},
         NO_LABEL);
}

static void emit_alu_by(struct writer *writer, unsigned operation, unsigned to, unsigned by)
{
    emit(writer,
         (struct bpf_insn){.code = (uint8_t)(BPF_ALU64 | operation | BPF_X),
                           .dst_reg = to & 0xF,
                           .src_reg = by & 0xF},
         NO_LABEL);
}

static void emit_store(struct writer *writer, unsigned at, int offset, unsigned from)
{
    emit(writer,
         (struct bpf_insn){.code = BPF_STX | BPF_MEM | BPF_W,
                           .dst_reg = at & 0xF,
                           .src_reg = from & 0xF,
                           .off = (int16_t)offset},
         NO_LABEL);
}

/* Of 32 bits, with a full barrier. BPF_CMPXCHG: register 0 is what is expected, then what was. */
static void emit_atomic(struct writer *writer, int32_t operation, unsigned at, int offset,
                        unsigned value)
{
    emit(writer,
         (struct bpf_insn){.code = BPF_STX | BPF_ATOMIC | BPF_W,
                           .dst_reg = at & 0xF,
                           .src_reg = value & 0xF,
                           .off = (int16_t)offset,
                           .imm = operation},
         NO_LABEL);
}

static void emit_if_not_equal(struct writer *writer, unsigned one, unsigned other, int label)
{
    emit(writer,
         (struct bpf_insn){
             .code = BPF_JMP32 | BPF_JNE | BPF_X, .dst_reg = one & 0xF, .src_reg = other & 0xF},
         label);
}

/* Register 3: the frame of the word on the stack, or its partner. */
static void emit_frame(struct writer *writer, bool is_partner)
{
    emit_load(writer, BPF_W, BPF_REG_3, BPF_REG_10, STACK_WORD);
    if (is_partner)
        emit_alu(writer, BPF_XOR, BPF_REG_3, 1);
    emit_alu(writer, BPF_AND, BPF_REG_3, XDP_CARRY_FRAME_MASK);
    emit_alu(writer, BPF_LSH, BPF_REG_3, 8);
    emit_add(writer, BPF_REG_3, FRAMES);
    emit_alu_by(writer, BPF_ADD, BPF_REG_3, SHARED);
}

/* Register 4: how long the answer is. */
static void emit_answer_len(struct writer *writer)
{
    emit_load(writer, BPF_W, BPF_REG_4, BPF_REG_10, STACK_WORD);
    emit_alu(writer, BPF_RSH, BPF_REG_4, XDP_CARRY_LEN_SHIFT);
    emit_alu(writer, BPF_AND, BPF_REG_4, XDP_CARRY_LEN_MASK);
}

/* LEN and SHARED; then the place's word, which is ours alone when the exchange has succeeded. A
 * position read before another processor moved it on can lie behind `offered`, or before it by
 * more than there are: the first is seen by the sign of the difference, the second by the
 * exchange. */
static void write_claim(struct writer *writer, int carry_map)
{
    emit_move(writer, BPF_REG_1, CONTEXT);
    emit_call(writer, BPF_FUNC_xdp_get_buff_len);
    emit(writer, /* the lower half: the verifier is to know all of it */
         (struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = LEN, .src_reg = BPF_REG_0},
         NO_LABEL);
    emit_if(writer, BPF_JGT, LEN, XDP_CARRY_FRAME_BYTES, LABEL_REDIRECT);
    emit_if(writer, BPF_JLT, LEN, XDP_CARRY_LEAST_BYTES, LABEL_REDIRECT);
    emit_load(writer, BPF_W, BPF_REG_2, CONTEXT, offsetof(struct xdp_md, rx_queue_index));
    emit_store(writer, BPF_REG_10, STACK_QUEUE, BPF_REG_2);
    emit_map(writer, BPF_REG_1, carry_map);
    emit_move(writer, BPF_REG_2, BPF_REG_10);
    emit_add(writer, BPF_REG_2, STACK_QUEUE);
    emit_call(writer, BPF_FUNC_map_lookup_elem);
    emit(writer, (struct bpf_insn){.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0},
         LABEL_REDIRECT);
    emit_move(writer, SHARED, BPF_REG_0);
    emit_load(writer, BPF_W, BPF_REG_0, SHARED, ASLEEP);
    emit_if(writer, BPF_JEQ, BPF_REG_0, 0, LABEL_AWAKE);
    emit_number(writer, BPF_REG_0, 0);
    emit_atomic(writer, BPF_XCHG, SHARED, ASLEEP, BPF_REG_0);
    emit_if(writer, BPF_JNE, BPF_REG_0, 0, LABEL_REDIRECT);
    place(writer, LABEL_AWAKE);
    emit_load(writer, BPF_W, BPF_REG_0, SHARED, CLAIMED);
    emit_load(writer, BPF_W, BPF_REG_1, SHARED, OFFERED);
    emit_alu_by(writer, BPF_SUB, BPF_REG_1, BPF_REG_0);
    emit_if(writer, BPF_JSLE, BPF_REG_1, 0, LABEL_REDIRECT);
    emit_move(writer, WORD_AT, BPF_REG_0);
    emit_move(writer, BPF_REG_1, BPF_REG_0);
    emit_add(writer, BPF_REG_1, 1);
    emit_atomic(writer, BPF_CMPXCHG, SHARED, CLAIMED, BPF_REG_1);
    emit_if_not_equal(writer, BPF_REG_0, WORD_AT, LABEL_REDIRECT);
    emit_alu(writer, BPF_AND, WORD_AT, XDP_CARRY_PLACES - 1);
    emit_alu(writer, BPF_LSH, WORD_AT, 2);
    emit_alu_by(writer, BPF_ADD, WORD_AT, SHARED);
    emit_load(writer, BPF_W, BPF_REG_1, WORD_AT, WORDS);
    emit_store(writer, BPF_REG_10, STACK_WORD, BPF_REG_1);
}

/* The question out of the frame, the answer into it. */
static void write_exchange(struct writer *writer)
{
    emit_frame(writer, true);
    emit_move(writer, BPF_REG_1, CONTEXT);
    emit_number(writer, BPF_REG_2, 0);
    emit_move(writer, BPF_REG_4, LEN);
    emit_call(writer, BPF_FUNC_xdp_load_bytes);
    emit_if(writer, BPF_JNE, BPF_REG_0, 0, LABEL_UNSENT);
    emit_answer_len(writer);
    emit_move(writer, BPF_REG_2, BPF_REG_4);
    emit_alu_by(writer, BPF_SUB, BPF_REG_2, LEN);
    emit_move(writer, BPF_REG_1, CONTEXT);
    emit_call(writer, BPF_FUNC_xdp_adjust_tail);
    emit_if(writer, BPF_JNE, BPF_REG_0, 0, LABEL_UNSENT);
    emit_answer_len(writer);
    emit_if(writer, BPF_JEQ, BPF_REG_4, 0, LABEL_UNSENT); /* never; the verifier asks */
    emit_if(writer, BPF_JGT, BPF_REG_4, XDP_CARRY_FRAME_BYTES, LABEL_UNSENT);
    emit_frame(writer, false);
    emit_move(writer, BPF_REG_1, CONTEXT);
    emit_number(writer, BPF_REG_2, 0);
    emit_call(writer, BPF_FUNC_xdp_store_bytes);
}

void xdp_program_write_carry(struct writer *writer, int carry_map)
{
    write_claim(writer, carry_map);
    write_exchange(writer);
    emit_load(writer, BPF_W, BPF_REG_1, BPF_REG_10, STACK_WORD);
    emit_alu(writer, BPF_XOR, BPF_REG_1, 1);
    emit_alu(writer, BPF_AND, BPF_REG_1, XDP_CARRY_FRAME_MASK);
    emit_alu(writer, BPF_LSH, LEN, XDP_CARRY_LEN_SHIFT);
    emit_alu_by(writer, BPF_OR, BPF_REG_1, LEN);
    emit_alu(writer, BPF_OR, BPF_REG_1, (int32_t)XDP_CARRY_CAME);
    emit_atomic(writer, BPF_XCHG, WORD_AT, WORDS, BPF_REG_1);
    emit_return(writer, XDP_TX);
    place(writer, LABEL_UNSENT);
    emit_load(writer, BPF_W, BPF_REG_1, BPF_REG_10, STACK_WORD);
    emit_alu(writer, BPF_OR, BPF_REG_1, XDP_CARRY_UNSENT);
    emit_atomic(writer, BPF_XCHG, WORD_AT, WORDS, BPF_REG_1);
}
