#include "net/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "mete/wire.h"

void filter_init(struct filter *filter, uint16_t boot)
{
    *filter = (struct filter){.boot = boot};
}

static bool is_above(uint64_t count, uint64_t per_second, uint64_t elapsed_ns)
{
    return (unsigned __int128)count * 1000000000u >= (unsigned __int128)per_second * elapsed_ns;
}

bool filter_judge(struct filter *filter, const struct filter_look *look)
{
    uint64_t elapsed_ns = look->now_ns - filter->looked_at_ns;
    uint64_t received = look->received - filter->received;
    uint64_t bad = look->bad - filter->bad;
    uint64_t dropped = look->dropped - filter->dropped;
    bool wanted = filter->is_on;
    if (elapsed_ns == 0)
        return wanted;
    if (bad && bad * 2 > received && is_above(bad, FILTER_FLOOD_PER_SECOND, elapsed_ns)) {
        wanted = true;
        filter->busy_at_ns = look->now_ns;
    } else if (dropped && is_above(dropped, FILTER_CALM_PER_SECOND, elapsed_ns)) {
        filter->busy_at_ns = look->now_ns;
    } else if (look->now_ns - filter->busy_at_ns >= FILTER_CALM_NS) {
        wanted = false;
    }
    filter->looked_at_ns = look->now_ns;
    filter->received = look->received;
    filter->bad = look->bad;
    filter->dropped = look->dropped;
    filter->is_on = wanted;
    return wanted;
}

#define FLOOD_MAX_STATEMENTS 64u
#define UDP_HEADER 8u /* the program sees it in front of the payload */
#define LOAD_BYTE(at) BPF_STMT(BPF_LD | BPF_B | BPF_ABS, UDP_HEADER + (at))
#define LOAD_LEN BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0)
#define JUMP(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, yes, no)
#define COMPUTE(operation, value) BPF_STMT(BPF_ALU | (operation) | BPF_K, value)

/* Jumps count the statements that they skip; what passes goes on behind the last one. */
static unsigned write_flood(uint16_t boot, struct sock_filter *ret_program)
{
    uint16_t boot_as_loaded = (uint16_t)(boot << 8 | boot >> 8); /* loads are big endian */
    struct sock_filter program[] = {
        LOAD_LEN, JUMP(BPF_JGE, UDP_HEADER + METE_WIRE_HEADER_BYTES + METE_WIRE_TAG_BYTES, 0, 28),
        JUMP(BPF_JGT, UDP_HEADER + METE_WIRE_MAX_BYTES, 28, 0), /* joined, or too long */
        LOAD_BYTE(0), JUMP(BPF_JEQ, METE_WIRE_MAGIC_VERSION, 0, 25), LOAD_BYTE(1),
        JUMP(BPF_JSET, METE_RESULT, 23, 0), JUMP(BPF_JEQ, METE_HELLO, 7, 0), LOAD_BYTE(22),
        JUMP(BPF_JEQ, METE_WIRE_NO_SECRET, 5, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, UDP_HEADER + 20), JUMP(BPF_JEQ, boot_as_loaded, 3, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        COMPUTE(BPF_MOD, FILTER_HINTS), JUMP(BPF_JEQ, 0, 0, 15),
        /* the length that sizes and n add up to, with the UDP header */
        LOAD_BYTE(23), COMPUTE(BPF_RSH, 4), BPF_STMT(BPF_ST, 0), LOAD_BYTE(23),
        COMPUTE(BPF_AND, 15), BPF_STMT(BPF_MISC | BPF_TAX, 0), LOAD_BYTE(3),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0), BPF_STMT(BPF_LDX | BPF_MEM, 0),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0), COMPUTE(BPF_LSH, 3),
        COMPUTE(BPF_ADD, METE_WIRE_TAG_BYTES + UDP_HEADER), BPF_STMT(BPF_MISC | BPF_TAX, 0),
        LOAD_LEN, BPF_JUMP(BPF_JMP | BPF_JGE | BPF_X, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0), /* drop */
    };
    memcpy(ret_program, program, sizeof(program));
    return sizeof(program) / sizeof(program[0]);
}

int filter_attach(int socket, const uint16_t *boot, const struct gate *gate)
{
    struct sock_filter program[FLOOD_MAX_STATEMENTS + GATE_MAX_STATEMENTS + 1];
    unsigned count = boot ? write_flood(*boot, program) : 0;
    if (gate && gate->count)
        count += gate_write(gate, program + count);
    else
        program[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = program};
    return setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ? -errno
                                                                                         : 0;
}

int filter_detach(int socket)
{
    int none = 0;
    return setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)) < 0 ? -errno : 0;
}

struct filter_queue filter_look_at(int socket)
{
    uint32_t figures[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(figures);
    if (getsockopt(socket, SOL_SOCKET, SO_MEMINFO, figures, &len) < 0)
        return (struct filter_queue){0};
    return (struct filter_queue){
        .dropped = figures[SK_MEMINFO_DROPS],
        .used_bytes = figures[SK_MEMINFO_RMEM_ALLOC],
        .size_bytes = figures[SK_MEMINFO_RCVBUF],
    };
}
