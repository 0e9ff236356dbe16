/* Faults inside the daemon, in a program for tests alone.
 *
 * The program build/<flavour>/tests/fault/mete is the daemon's own objects, linked so that the
 * calls below go through functions which fail now and then (ld's --wrap; and, without a sanitizer,
 * an allocator in front of libc's, which libraries meet too). So there is nothing of it in the
 * sources or in any other program. $METE_FAULTS says what fails, how often and how long:
 *
 *     METE_FAULTS=seed=7,from=start,alloc=1/50x1000,send_short=1/10,thread=@3
 *
 * 1/N: one call of N, by chance, but the same ones each time; xMAX: no more after so many; @K: the
 * Kth call alone. Without from=start only what comes after the daemon's start fails. At its end the
 * program prints `mete: faults NAME HITS/CALLS ...` for the points it was told of; tell=FILE keeps
 * (hits, calls) of each point, in the order below, in a file that others may read meanwhile; and
 * behind them one more number, which they may write: nanoseconds that each batch's send takes
 * longer from then on.
 *
 * Any thread; no lock, no allocation, no system call of its own but the one that it stands for. */
#ifndef METE_TESTS_FAULT_FAULT_H
#define METE_TESTS_FAULT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault {
    FAULT_ALLOC, /* malloc and its kin: NULL; only calls from our code and the libraries of doors */
    FAULT_SEND_SHORT, /* send(), sendmmsg(): a part of it; recv(): a part of what is there */
    FAULT_ENOBUFS,    /* sendmmsg(), sendmsg(), recvmmsg(); sends through a ring */
    FAULT_EAGAIN,     /* the same, and send(), recv() of streams; submissions to a ring */
    FAULT_CQ,   /* a completion queue of 16 entries: a hit is an entry into the kernel that finds
                   or leaves it overflown */
    FAULT_MMAP, /* ENOMEM */
    FAULT_CLOCK_STEP, /* CLOCK_REALTIME moves to within a day of what it is */
    FAULT_THREAD,     /* pthread_create(): EAGAIN */
    FAULT_ACCEPT,     /* accept4(): EMFILE */
    FAULT_COUNT
};

/* Whether this call is to fail; counts it. */
bool fault_is_due(enum fault fault);

/* A number of the last hit, for how much of a thing is left. */
uint64_t fault_random(enum fault fault);

/* Whether $METE_FAULTS has it at all. */
bool fault_is_on(enum fault fault);

/* Takes the time that the file says. */
void fault_delay(void);

/* A hit that happened by itself. */
void fault_count(enum fault fault);

#endif
