#include "net/gate.h"

#include <linux/filter.h>
#include <string.h>

#include "mete/wire.h"
#include "net/io.h"

#define UDP_HEADER 8u /* the program sees it in front of the payload */
#define LOAD_BYTE(at) BPF_STMT(BPF_LD | BPF_B | BPF_ABS, UDP_HEADER + (at))
#define LOAD_LEN BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0)
#define JUMP(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, yes, no)
#define COMPUTE(operation, value) BPF_STMT(BPF_ALU | (operation) | BPF_K, value)
#define PASS BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)
#define DROP BPF_STMT(BPF_RET | BPF_K, 0)

struct writer {
    struct sock_filter *program;
    unsigned count;
};

static void put(struct writer *writer, const struct sock_filter *statements, unsigned count)
{
    memcpy(writer->program + writer->count, statements, count * sizeof(*statements));
    writer->count += count;
}

#define PUT(writer, ...)                                                                           \
    do {                                                                                           \
        const struct sock_filter statements_[] = {__VA_ARGS__};                                    \
        put(writer, statements_, sizeof(statements_) / sizeof(statements_[0]));                    \
    } while (0)

/* What is no request, or a RELEASE, passes. */
static void put_exceptions(struct writer *writer)
{
    PUT(writer, LOAD_LEN,
        JUMP(BPF_JGE, UDP_HEADER + METE_WIRE_HEADER_BYTES + METE_WIRE_TAG_BYTES, 1, 0), PASS,
        LOAD_BYTE(0), JUMP(BPF_JEQ, METE_WIRE_MAGIC_VERSION, 1, 0), PASS, LOAD_BYTE(1),
        JUMP(BPF_JEQ, METE_RELEASE, 0, 1), PASS);
}

/* X: how many of 2^32 pass. The tenants stand behind each other, the heaviest first. */
static void put_thresholds(struct writer *writer, const struct gate *gate)
{
    PUT(writer, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, UDP_HEADER + 4));
    for (uint32_t i = 0; i < gate->count; i++) {
        const struct gate_tenant *tenant = &gate->tenants[i];
        uint32_t left = (gate->count - 1 - i) * 3 + 1; /* to the end of this list */
        PUT(writer, JUMP(BPF_JEQ, __builtin_bswap32(tenant->id), 0, 2), /* loads are big endian */
            BPF_STMT(BPF_LDX | BPF_IMM, tenant->threshold), BPF_STMT(BPF_JMP | BPF_JA, left));
    }
    PUT(writer, PASS);
}

/* The length that the first datagram says it has, into M[0] and A, without the UDP header. */
static void put_own_len(struct writer *writer)
{
    PUT(writer, LOAD_BYTE(23), COMPUTE(BPF_RSH, 4), BPF_STMT(BPF_ST, 0), LOAD_BYTE(23),
        COMPUTE(BPF_AND, 15), BPF_STMT(BPF_MISC | BPF_TAX, 0), LOAD_BYTE(3),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0), BPF_STMT(BPF_LDX | BPF_MEM, 0),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0), COMPUTE(BPF_LSH, 3),
        COMPUTE(BPF_ADD, METE_WIRE_TAG_BYTES), BPF_STMT(BPF_ST, 0));
}

/* Drops unless a further datagram, each of M[0] bytes, is a RELEASE, or there are more of them than
 * this looks at. A load past the end of the message ends the program and drops it. */
static void put_look_into_joined(struct writer *writer)
{
    PUT(writer, BPF_STMT(BPF_ST, 1));
    for (unsigned i = 1; i < IO_MAX_SEGMENTS; i++)
        PUT(writer, BPF_STMT(BPF_LDX | BPF_MEM, 1),
            BPF_STMT(BPF_LD | BPF_B | BPF_IND, UDP_HEADER + 1), JUMP(BPF_JEQ, METE_RELEASE, 0, 1),
            PASS, BPF_STMT(BPF_LD | BPF_MEM, 0), BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
            BPF_STMT(BPF_ST, 1));
    PUT(writer, BPF_STMT(BPF_LDX | BPF_MEM, 1), BPF_STMT(BPF_LD | BPF_B | BPF_IND, UDP_HEADER + 1),
        PASS);
}

unsigned gate_write(const struct gate *gate, struct sock_filter *program)
{
    struct writer writer = {.program = program};
    put_exceptions(&writer);
    put_thresholds(&writer, gate);
    PUT(&writer, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_X, 0, 1, 0), PASS);
    put_own_len(&writer);
    PUT(&writer, BPF_STMT(BPF_MISC | BPF_TAX, 0), LOAD_LEN, COMPUTE(BPF_SUB, UDP_HEADER),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0), DROP); /* not joined */
    if (gate->looks_into_joined) {
        PUT(&writer, BPF_STMT(BPF_MISC | BPF_TXA, 0));
        put_look_into_joined(&writer);
    } else {
        PUT(&writer, PASS);
    }
    return writer.count;
}
