/* What serve_snapshot.c and serve_snapshot_say.c share. */
#ifndef METE_CMD_SERVE_SNAPSHOT_PARTS_H
#define METE_CMD_SERVE_SNAPSHOT_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "snapshot/load.h"
#include "snapshot/save.h"
#include "sys/clock.h"
#include "sys/replace.h"

struct policy;
struct server;

/* What came of the last ones. */
struct snapshot_state {
    uint64_t begun;    /* the number of the last that was begun; they end in that order */
    uint64_t finished; /* the number of the last that ended */
    uint64_t saved_count, failed_count;
    int result;            /* of the last that ended: 0 or a negative errno */
    uint64_t good_boot_ns; /* when what the file holds was copied; 0: nothing is known of it */
    uint64_t good_age_ns;  /* and how old it was then: not 0 for one of a former run */
    uint64_t duration_ns;  /* of the last good one, as the next two */
    struct snapshot_report report;
};

struct serve_snapshot {
    struct server *server;
    struct replace file;
    struct snapshot_header header; /* of every one: what names this daemon */
    uint64_t every_ns;
    unsigned reader; /* of what is published */
    int wake;        /* of the thread */
    pthread_t thread;
    bool is_running;
    bool keeps_old; /* what stands in the file could not be used */
    atomic_bool stop;
    _Atomic uint64_t renewals; /* times that rows got other owners */
    /* the thread's */
    struct wall wall;
    const struct policy *policy; /* in a section */
    uint64_t renewals_seen;
    uint64_t cpu_ns; /* of the thread, at the end of the last pause */
    uint64_t owed_ns;
    bool is_paced;
    bool has_said;        /* one was saved, and told of */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t is_ready;
    bool ready;
    bool wanted; /* by an operator */
    struct snapshot_state state;
};

struct snapshot_state serve_look_at_snapshot(struct serve_snapshot *snapshot);

/* One line on what came of the load, of one that was written. */
void serve_say_loaded(const struct serve_snapshot *snapshot, const struct snapshot_loaded *loaded,
                      uint64_t took_ns);
void serve_say_cold(const struct serve_snapshot *snapshot, const char *why);
void serve_say_saved(struct serve_snapshot *snapshot, const struct snapshot_state *state,
                     bool was_wanted);

/* What the last one came to, for who asked: without newline. */
void serve_format_saved(const struct serve_snapshot *snapshot, const struct snapshot_state *state,
                        char *text, size_t size);

#endif
