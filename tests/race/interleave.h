/* Every interleaving of a few threads, one shared access at a time.
 *
 * The threads are coroutines of one kernel thread; interleave_point(), called before each shared
 * access, hands over to the scheduler, which tries every choice of who goes next: depth first, a
 * branch by running the scenario again from its start. A thread's future depends only on what it
 * has read, so two prefixes after which every thread has read the same and memory is the same have
 * the same futures, and the second is not walked again. That makes the search complete without a
 * bound on preemptions, where the schedules themselves are more than anybody could run. (States are
 * told apart by 64-bit hashes: of a million, two meet with a chance of 3e-8.)
 *
 * A word that only one thread touches, or that nobody writes, is no reason to hand over: which
 * words are others' concern is learned. The search starts with none; when a word turns out to be
 * shared, it starts again knowing so. The last search met no word that it did not know.
 *
 * Where even that is too much, a scenario bounds the number of preemptions, and the line says so.
 *
 * What it does not show: stores that a processor delays. The only stores that are no locked
 * instructions are key words and the end of a sweep, and each stands before one or is a release.
 *
 * x86-64 only (the switch below; ucontext makes two system calls, and there are millions). One
 * kernel thread only; state is file-wide because coroutines have no argument to carry it. */
#ifndef METE_TESTS_RACE_INTERLEAVE_H
#define METE_TESTS_RACE_INTERLEAVE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERLEAVE_THREADS 3u
#define INTERLEAVE_DEPTH 4096u
#define INTERLEAVE_STACK (64u * 1024)
#ifndef INTERLEAVE_STATES
#define INTERLEAVE_STATES (1u << 21)
#endif
#define INTERLEAVE_WORDS 128u
#define INTERLEAVE_NOBODY UINT8_MAX

/* Puts the callee-saved registers on the stack, leaves the stack pointer in *save, goes on with
 * the stack `next`. */
void interleave_switch(void **save, void *next);
/* Global, because link-time optimisation may put its callers and this into different objects. */
__asm__(".text\n"
        ".globl interleave_switch\n"
        ".type interleave_switch, @function\n"
        "interleave_switch:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        "ret\n"
        ".size interleave_switch, . - interleave_switch\n");

struct interleave_scenario {
    const char *name;
    unsigned threads;
    unsigned preemptions; /* at most so many; 0 = as many as there are */
    void (*setup)(void);
    void (*thread)(unsigned self);
    uint64_t (*memory)(void);       /* a hash of all that lives longer than an operation */
    const char *(*invariant)(void); /* holds in every state; NULL or what is broken */
    const char *(*outcome)(void);   /* holds when all threads are done */
};

struct interleave_frame { /* one decision on the path */
    uint64_t state;
    double schedules; /* finished below it so far */
    uint8_t chosen;
    uint8_t untried;     /* bit mask */
    uint8_t previous;    /* who ran before */
    uint8_t preemptions; /* before this decision */
};

struct interleave_word { /* what is known of a shared word */
    const void *address;
    uint8_t readers, writers; /* bit masks of threads, over all runs of the scenario */
    bool shared;
};

static struct {
    const struct interleave_scenario *scenario;
    void *scheduler, *contexts[INTERLEAVE_THREADS]; /* stack pointers of who does not run */
    char *stacks;
    uint64_t history[INTERLEAVE_THREADS]; /* hash of all a thread has read */
    unsigned operations[INTERLEAVE_THREADS];
    bool done[INTERLEAVE_THREADS];
    struct interleave_word words[INTERLEAVE_WORDS];
    bool learned; /* a word became shared: start again */
    int current;  /* -1: nobody, points are passed */
    struct interleave_frame path[INTERLEAVE_DEPTH];
    unsigned depth;
    uint64_t *keys; /* set of states, open addressing; 0 is free */
    double *values; /* schedules from there to the end */
    uint64_t states, runs;
    double below; /* schedules below the state just left */
} interleave = {.current = -1};

static inline uint64_t interleave_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product =
        (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd1b54a32d192ed03ull);

    return ((uint64_t)product ^ (uint64_t)(product >> 64)) + (a << 7 | a >> 57) + b;
}

static struct interleave_word *interleave_word_at(const void *address)
{
    size_t i = (uintptr_t)address / 8 % INTERLEAVE_WORDS;

    while (interleave.words[i].address && interleave.words[i].address != address)
        i = (i + 1) % INTERLEAVE_WORDS;
    interleave.words[i].address = address;
    return &interleave.words[i];
}

static inline void interleave_point(const void *address, bool is_write)
{
    int self = interleave.current;

    if (self < 0)
        return;
    struct interleave_word *word = interleave_word_at(address);

    interleave.history[self] = interleave_mix(interleave.history[self], 1);
    *(is_write ? &word->writers : &word->readers) |= (uint8_t)(1 << self);
    if (!word->shared) {
        uint8_t touched = word->readers | word->writers;

        if (!word->writers || !(touched & (touched - 1)))
            return;
        word->shared = true;
        interleave.learned = true;
    }
    interleave.current = -1;
    interleave_switch(&interleave.contexts[self], interleave.scheduler);
}

static inline void interleave_seen(uint64_t word)
{
    int self = interleave.current;

    if (self >= 0)
        interleave.history[self] = interleave_mix(interleave.history[self], word);
}

/* A thread begins its next operation, or the same one again: of all it has read it knows nothing
 * any more, but what memory() covers. States that differ in more have the same futures. */
static inline void interleave_begin(bool again)
{
    int self = interleave.current;

    if (self < 0)
        return;
    interleave.operations[self] += !again;
    interleave.history[self] = interleave_mix(interleave.operations[self], (uint64_t)self + 1000);
}

static void interleave_main(void)
{
    int self = interleave.current;

    interleave.scenario->thread((unsigned)self);
    interleave_begin(false);
    interleave.done[self] = true;
    interleave.current = -1;
    interleave_switch(&interleave.contexts[self], interleave.scheduler); /* never comes back */
}

static void interleave_start(void)
{
    interleave.current = -1;
    interleave.scenario->setup();
    for (unsigned i = 0; i < interleave.scenario->threads; i++) {
        void **top = (void **)(void *)(interleave.stacks + (i + 1) * INTERLEAVE_STACK) - 1;

        *top = NULL; /* where a return address would be: keeps the stack aligned as after a call */
        *--top = (void *)interleave_main;
        for (unsigned registers = 0; registers < 6; registers++)
            *--top = NULL;
        interleave.contexts[i] = top;
        interleave.history[i] = i;
        interleave.operations[i] = 0;
        interleave.done[i] = false;
    }
}

static void interleave_step(unsigned thread)
{
    interleave.current = (int)thread;
    interleave_switch(&interleave.scheduler, interleave.contexts[thread]);
}

/* The cell of a state; *ret_known tells whether it was there. */
static size_t interleave_cell(uint64_t state, bool *ret_known)
{
    size_t i = state % INTERLEAVE_STATES;

    while (interleave.keys[i] && interleave.keys[i] != state)
        i = (i + 1) % INTERLEAVE_STATES;
    *ret_known = interleave.keys[i] == state;
    return i;
}

static uint64_t interleave_state(uint8_t previous, uint8_t preemptions)
{
    uint64_t state = interleave.scenario->memory();

    if (interleave.scenario->preemptions)
        state = interleave_mix(state, previous * 256u + preemptions);

    for (unsigned i = 0; i < interleave.scenario->threads; i++)
        state = interleave_mix(state, interleave.history[i] ^ interleave.done[i]);
    return state | 1;
}

static bool interleave_fail(const char *what)
{
    printf("%s: %s\n  schedule:", interleave.scenario->name, what);
    for (unsigned i = 0; i < interleave.depth; i++)
        printf(" %u", interleave.path[i].chosen);
    printf("\n");
    return false;
}

/* Who ran last, and how often a thread that could go on was stopped. */
static void interleave_past(uint8_t *ret_previous, uint8_t *ret_preemptions)
{
    if (interleave.depth == 0)
        return;
    const struct interleave_frame *last = &interleave.path[interleave.depth - 1];

    *ret_previous = last->chosen;
    *ret_preemptions =
        last->preemptions + (last->previous != INTERLEAVE_NOBODY && last->chosen != last->previous);
}

/* From the present state on, first choices first, to an end or to a known state. False: broken. */
static bool interleave_descend(void)
{
    for (;;) {
        const char *broken = interleave.scenario->invariant();
        uint8_t enabled = 0;
        bool known;

        if (broken)
            return interleave_fail(broken);
        if (interleave.learned)
            return true;
        for (unsigned i = 0; i < interleave.scenario->threads; i++)
            enabled |= (uint8_t)(!interleave.done[i] << i);
        if (!enabled) {
            broken = interleave.scenario->outcome();
            interleave.below = 1;
            return broken ? interleave_fail(broken) : true;
        }
        uint8_t previous = 0, preemptions = 0;

        interleave_past(&previous, &preemptions);
        uint64_t state = interleave_state(previous, preemptions);
        size_t cell = interleave_cell(state, &known);

        if (known) {
            interleave.below = interleave.values[cell];
            return true;
        }
        if (interleave.states++ >= INTERLEAVE_STATES / 4 * 3)
            return interleave_fail("too many states for this test");
        interleave.keys[cell] = state;
        if (interleave.depth == INTERLEAVE_DEPTH)
            return interleave_fail("a thread goes round and round");
        bool may_stay = enabled >> previous & 1;
        uint8_t chosen = may_stay ? previous : (uint8_t)__builtin_ctz(enabled);
        uint8_t untried = enabled & (uint8_t) ~(1u << chosen);

        if (may_stay && interleave.scenario->preemptions &&
            preemptions == interleave.scenario->preemptions)
            untried = 0;
        interleave.path[interleave.depth++] = (struct interleave_frame){
            .state = state,
            .chosen = chosen,
            .untried = untried,
            .previous = may_stay ? previous : INTERLEAVE_NOBODY,
            .preemptions = preemptions,
        };
        interleave_step(chosen);
    }
}

/* Gives the count of what was finished upwards; false when nothing is left to try. */
static bool interleave_backtrack(void)
{
    while (interleave.depth) {
        struct interleave_frame *frame = &interleave.path[interleave.depth - 1];
        bool known;

        frame->schedules += interleave.below;
        if (frame->untried) {
            frame->chosen = (uint8_t)__builtin_ctz(frame->untried);
            frame->untried &= (uint8_t)(frame->untried - 1);
            return true;
        }
        interleave.values[interleave_cell(frame->state, &known)] = frame->schedules;
        interleave.below = frame->schedules;
        interleave.depth--;
    }
    return false;
}

/* One search. False: something is broken. */
static bool interleave_search(void)
{
    bool good;

    memset(interleave.keys, 0, INTERLEAVE_STATES * sizeof *interleave.keys);
    interleave.depth = 0;
    interleave.states = interleave.runs = 0;
    interleave.learned = false;
    do {
        interleave_start();
        for (unsigned i = 0; i < interleave.depth; i++)
            interleave_step(interleave.path[i].chosen);
        interleave.runs++;
        good = interleave_descend();
    } while (good && !interleave.learned && interleave_backtrack());
    return good;
}

/* All schedules of a scenario; prints how many there are. False if one of them breaks something. */
static bool interleave_explore(const struct interleave_scenario *scenario)
{
    bool good;

    interleave.scenario = scenario;
    interleave.stacks = aligned_alloc(64, INTERLEAVE_THREADS * INTERLEAVE_STACK);
    interleave.keys = calloc(INTERLEAVE_STATES, sizeof *interleave.keys);
    interleave.values = calloc(INTERLEAVE_STATES, sizeof *interleave.values);
    memset(interleave.words, 0, sizeof interleave.words);
    if (!interleave.stacks || !interleave.keys || !interleave.values)
        abort();
    do
        good = interleave_search();
    while (good && interleave.learned);
    if (good) {
        printf("%-46s %d threads, %.*g schedules, %llu states", scenario->name,
               (int)scenario->threads, interleave.below < 1e15 ? 15 : 2, interleave.below,
               (unsigned long long)interleave.states);
        if (scenario->preemptions)
            printf(", at most %u preemptions", scenario->preemptions);
        printf("\n");
    }
    free(interleave.stacks);
    free(interleave.keys);
    free(interleave.values);
    return good;
}

/* A scenario, judged by the functions memory() and invariant() of the file it stands in. */
#define SCENARIO(name, threads, preemptions, setup, thread, outcome)                               \
    {                                                                                              \
        name, threads, preemptions, setup, thread, memory, invariant, outcome                      \
    }

/* These, one after the other, or only those whose name begins with argv[1]. 0 if none of them
 * breaks anything, 1 if one does, 2 if there is none. */
static int interleave_all(const struct interleave_scenario *scenarios, size_t count, int argc,
                          char **argv)
{
#ifdef __SANITIZE_THREAD__
#define ONE_THREAD
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ONE_THREAD
#endif
#endif
#ifdef ONE_THREAD
    printf("one kernel thread: nothing for the thread sanitizer to see\n");
    return 0;
#endif
    const char *word = argc > 1 ? argv[1] : "";
    bool good = true;
    size_t tried = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(scenarios[i].name, word, strlen(word)) != 0)
            continue;
        tried++;
        good = interleave_explore(&scenarios[i]) && good;
    }
    if (!tried)
        fprintf(stderr, "no scenario begins with '%s'\n", word);
    return !tried ? 2 : good ? 0 : 1;
}

#endif
