/* `mete bench`: what its files share. bench_options.c reads the command line, bench_hello.c makes
 * the first contact, bench_traffic.c and bench_zipf.c choose subjects, bench_flow.c holds one
 * socket and what is in flight on it, bench_loop.c is the closed loop, bench_open.c the open one
 * with the instants of bench_schedule.c, bench_request.c what both send and send again,
 * bench_answer.c what they get, bench_judge.c and bench_bounds_*.c verify, bench_conditions.c and
 * bench_drops.c tell what a run depended on, bench_report*.c print; bench_search.c makes
 * several runs in a row, towards what bench_goal.c reads, and bench_compare.c lays two reports side
 * by side. With --door the flows are connections (bench_stream.c) to a door (bench_door*.c). */
#ifndef METE_CMD_BENCH_H
#define METE_CMD_BENCH_H

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/bench_door.h"
#include "cmd/bench_schedule.h"
#include "core/limit.h"
#include "mete/mac.h"
#include "mete/wire.h"
#include "obs/histogram.h"

#define BENCH_MAX_BATCH 50u
#define BENCH_MAX_FLOWS 1024u
#define BENCH_MAX_OUTSTANDING 1024u
#define BENCH_MAX_THREADS 64u
#define BENCH_MAX_RATE 100000000u
#define BENCH_MAX_ROWS 16u
#define BENCH_MAX_RETRIES 10u
#define BENCH_GOAL_TERMS 8u

/* What a rate must hold: percentiles of latency below some, and the lost below a share of the sent.
 */
struct bench_goal {
    const char *text; /* NULL: there is none */
    unsigned count;
    struct {
        const char *name;
        double share;
        uint64_t below_ns;
    } terms[BENCH_GOAL_TERMS];
    double loss; /* 0: any */
};

struct bench_options {
    const char *server;
    const char *tenant;
    const char *rule;
    const char *subjects;          /* path, or NULL: made keys */
    const char *admin;             /* path of the server's admin socket, or NULL */
    const char *secret;            /* path of the tenant's secret, of a door's API key; or NULL */
    const struct bench_door *door; /* NULL: datagrams */
    const char *ask;               /* of a door: what is asked instead of a check; or NULL */
    const char *verify;            /* text of the rule that verdicts are compared with, or NULL */
    struct limit limit;            /* of verify */
    uint32_t cost;
    unsigned flows;
    unsigned outstanding; /* open loop: room for this many */
    unsigned batch;
    unsigned threads;
    uint64_t keys;
    double zipf;          /* exponent; 0: uniform */
    double hot_part;      /* of the checks, on one key; 0: uniform */
    bool unique;          /* every check another key */
    uint64_t requests;    /* checks to send; 0: until the time is over */
    uint64_t duration_ns; /* 0: until the requests or subjects are used up */
    uint64_t timeout_ns;  /* of one try */
    unsigned retries;     /* of a datagram, the same bytes again */
    uint64_t backoff_ns;  /* before the first retry; doubles, give or take a half by chance */
    uint64_t rate;        /* checks per second of the open loop; 0: closed loop */
    enum schedule_kind schedule;
    uint64_t seed;
    bool join;    /* several datagrams of a flow in one send (UDP_SEGMENT) and receive (UDP_GRO) */
    bool echo;    /* the server returns what it gets */
    bool no_salt; /* verify: subjects as they are, reset first */
    bool reset;   /* forget first what the subjects spent */
    bool no_tag_check;
    bool progress;
    bool has_schedule;
    const char *compare[2];               /* paths of reports, or NULL */
    struct bench_goal goal;               /* of --find-rate */
    unsigned concurrency[BENCH_MAX_ROWS]; /* datagrams in flight, over all flows */
    unsigned concurrency_count;
    bool json;
    bool help;
};

/* The server's clock, as it was at an instant here. Never ahead of it: it is taken from an answer,
 * which was under way since. */
struct bench_clock {
    uint32_t ms;
    uint64_t at_ns;
};

/* The server as the first contact found it. */
struct bench_server {
    struct sockaddr_storage address;
    socklen_t address_len;
    char text[64];
    uint64_t seed; /* of the tenant's keys */
    bool has_secret;
    uint8_t secret; /* which of the tenant's; METE_WIRE_NO_SECRET */
    uint16_t boot;
    struct mete_mac_key mac;
    uint64_t repeat_window_ns; /* W: so long it knows the same bytes again; 0: never */
    struct bench_clock clock;
    /* The server's wall clock is this machine's CLOCK_BOOTTIME plus something in this range. */
    int64_t wall_low_ns;
    int64_t wall_high_ns;
    uint64_t wall_at_ns; /* when that was measured */
    /* of a door: */
    const struct bench_door *door; /* NULL: datagrams */
    struct door_words words;
    struct door_request begin;
    struct door_request request;
    char api_key[DOOR_MAX_KEY + 1];
};

struct bench_counts {
    uint64_t checks;    /* answered */
    uint64_t datagrams; /* answered */
    uint64_t sent;      /* datagrams */
    uint64_t allowed;
    uint64_t denied;
    uint64_t statuses[METE_STATUS_COUNT + 1]; /* checks by status; the last: unknown ones */
    uint64_t lost;       /* datagrams without an answer in time, after all tries */
    uint64_t late;       /* answers to those */
    uint64_t duplicate;  /* answers to what was answered */
    uint64_t unsent;     /* open loop: datagrams whose instant had passed when the run ended */
    uint64_t malformed;  /* answers of wrong form, sequence or tag */
    uint64_t retried;    /* datagrams that were sent more than once */
    uint64_t resends;    /* how often, over all */
    uint64_t repeats;    /* checks answered as repeats: charged by an earlier try */
    uint64_t refused;    /* times that the network said: nobody listens there */
    uint64_t unsendable; /* datagrams that this machine did not take */
    uint64_t cut_off;    /* datagrams in flight when the run was interrupted */
    uint64_t closed;     /* connections that ended before the run */
};

/* Set by SIGINT and SIGTERM: end early and report what was measured. */
extern volatile sig_atomic_t bench_stop;

/* The key of the tags; NULL: none. */
static inline const struct mete_mac_key *bench_server_key(const struct bench_server *server)
{
    return server->has_secret ? &server->mac : NULL;
}

/* Its clock at an instant here, as requests carry it; never 0, which means unknown. */
static inline uint32_t bench_server_clock(const struct bench_clock *clock, uint64_t now_ns)
{
    const uint32_t ms = clock->ms + (uint32_t)((now_ns - clock->at_ns) / 1000000);
    return ms + !ms;
}

/* Reads argv into *ret_options, defaults included. 0, or EXIT_USAGE after saying what is wrong. */
int bench_options_parse(int argc, char **argv, struct bench_options *ret_options);
void bench_options_help(void);
/* Defaults that depend on others, and what does not fit together. 0, or EXIT_USAGE after saying
 * what is wrong. */
int bench_options_fit(struct bench_options *options);
/* Makes it an open loop of this rate, with the room that needs. */
void bench_options_set_rate(struct bench_options *options, uint64_t rate);

struct bench_judge;
struct bench_conditions;

struct bench_run { /* what a report is made from */
    const struct bench_options *options;
    const struct bench_server *server;
    struct bench_counts counts;
    struct histogram *latency;   /* open loop: from the intended instant of sending */
    struct histogram *from_send; /* open loop: from the actual one */
    struct histogram *slip;      /* open loop: actual - intended */
    char invalid[256];           /* why the run says nothing, or "" */
    struct mete_verdict last;    /* of all, if has_last */
    bool has_last;
    const struct bench_judge *judge; /* or NULL */
    const struct bench_conditions *conditions;
    uint64_t elapsed_ns;
    uint64_t cpu_ns;        /* of this process */
    uint64_t subject_count; /* different ones */
    uint64_t line_count;    /* of --subjects, those used */
    uint64_t unparsed_count;
};

/* 0, or EXIT_USAGE after saying what is wrong. The goal keeps the text. */
int bench_goal_parse(const char *text, struct bench_goal *ret_goal);
int bench_concurrency_parse(const char *text, struct bench_options *options);
/* Did the run hold it? ret_why: what it missed. */
bool bench_goal_holds(const struct bench_goal *goal, const struct bench_run *run, char *ret_why,
                      size_t size);

/* Prints two reports side by side; EXIT_USAGE after saying what is wrong with one. */
int bench_compare(const char *first_path, const char *second_path);

/* Names of statuses; METE_STATUS_COUNT: any other. */
const char *bench_status_name(unsigned status);

struct bench_percentile {
    const char *name;
    double share;
};
#define BENCH_PERCENTILES 6u
extern const struct bench_percentile bench_percentiles[BENCH_PERCENTILES];

uint64_t bench_per_second(const struct bench_run *run, uint64_t count);

void bench_report_row_head(void);
void bench_report_row(const struct bench_run *run, unsigned in_flight);
void bench_report_text(const struct bench_run *run);
void bench_report_judge(const struct bench_options *options, const struct bench_judge *judge);
void bench_report_json(const struct bench_run *run);

#endif
