/* The way to Redis: batches go out, answers come in, and whatever goes wrong in between is told in
 * one line and mended by itself. link.c says how.
 *
 *   link_open(), link_start()
 *   for ever:  link_send() each batch that is due
 *              while link_poll(): an answer, a batch that will not be answered, a change of state
 *   link_leave(), link_close()
 *
 * Nothing here blocks but link_poll(), for no longer than it was told to. One thread; names of
 * hosts are looked up by others, that are its own. SIGPIPE must be ignored. */
#ifndef METE_REPLICA_LINK_H
#define METE_REPLICA_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "replica/batch.h"
#include "replica/link_tls.h"

struct link;

struct link_options {
    const char *url;            /* config/redis_url.h */
    const char *namespace_name; /* nodes of one namespace share limits; at most 64 bytes */
    const char *user;           /* of Redis' access list; NULL: the URL's, else `default` */
    const char *password;       /* ends with a zero; copied into locked memory; NULL: none */
    struct link_tls_files tls;
    uint64_t node_id;
    uint64_t token;      /* of the process, or of the table it took up; 0: a random one */
    uint32_t partitions; /* the same for all nodes: checked */
    uint64_t timeout_ns; /* a Redis that is silent for so long is given up; 0: one second */
};

/* What is wrong. Whatever it is, the link keeps trying. */
enum link_fault {
    LINK_FINE = 0,
    LINK_STARTING,    /* nothing is known yet */
    LINK_UNREACHABLE, /* no connection, or it broke, or it is silent */
    LINK_INSECURE,    /* TLS: not who it should be, or no TLS at all */
    LINK_GARBAGE,     /* that is not Redis */
    LINK_PASSWORD,
    LINK_DATABASE,
    LINK_RIGHTS,     /* the user may not do what is needed */
    LINK_OLD,        /* neither functions nor scripts that can do it */
    LINK_LOADING,    /* Redis reads its data set */
    LINK_BUSY,       /* another's script runs */
    LINK_MEMORY,     /* maxmemory is reached */
    LINK_READ_ONLY,  /* a replica, or a disk that cannot be written */
    LINK_INCOMPLETE, /* a Cluster without all its slots */
    LINK_FOREIGN,    /* a key of ours is held by something else */
    LINK_PARTITIONS, /* the namespace has another number of them */
    LINK_TAKEN,      /* another process has this node's id */
    LINK_MIXED,      /* another version of the function is in use too: fine, for an upgrade */
    LINK_OTHER,
};

/* "unreachable", "password", ... for logs and metrics. */
const char *link_fault_name(enum link_fault fault);

enum link_event_kind {
    LINK_EVENT_ANSWER, /* answer: valid until the next call */
    LINK_EVENT_FAILED, /* partition: what was sent of it will not be answered; send it again */
    LINK_EVENT_STATE,  /* link_look() has something new to say: worth a line in the log */
    LINK_EVENT_TAKEN,  /* link_set_node() is needed, else nothing more is sent */
};

struct link_event {
    enum link_event_kind kind;
    uint32_t partition;
    const struct batch_answer *answer;
};

/* Results: 0, -ENOMEM, -EINVAL or another negative errno with one clause in error. Redis need not
 * be there. */
int link_open(const struct link_options *options, struct link **ret_link, char *error, size_t size);
void link_close(struct link *link);

/* Starts what looks names up; nothing is reached before. Results: 0, or a negative errno. */
int link_start(struct link *link);

/* Sends a batch, and again after LINK_EVENT_FAILED: each that was taken is followed by one of
 * ANSWER and FAILED for its partition. Results: 0; -EAGAIN (not now: the way is down, or it waits
 * after an error; nothing was kept); -EALREADY (the last one of this partition is under way);
 * -ENOMEM. */
int link_send(struct link *link, const struct batch *batch);

/* The next event; false if there was none for so long. */
bool link_poll(struct link *link, uint64_t timeout_ns, struct link_event *ret_event);

/* Readable when link_poll() has something to read; for who waits elsewhere. Timers are not seen by
 * it: link_poll() wants to be called every 100 ms too. */
int link_descriptor(const struct link *link);

/* A node's id that no other process has, after LINK_EVENT_TAKEN. */
void link_set_node(struct link *link, uint64_t node_id);

/* Before anything was sent: the node and process that this link goes on for. */
void link_become(struct link *link, uint64_t node_id, uint64_t token);

/* Gives the node's id back, so that its next process need not wait for it: flushed for at most
 * timeout_ns. */
void link_leave(struct link *link, uint64_t timeout_ns);

/* How it stands. */
struct link_state {
    enum link_fault fault;
    char text[400];      /* one line: what is wrong, where, what to do; or that it is fine */
    uint32_t node_count; /* that were heard within 3 s, this one included; 0: never asked */
    uint32_t peers_ready, peers;
    bool is_cluster, is_script; /* a Cluster; without functions */
    uint64_t since_ns;          /* boot clock: since when it stands so */
    uint64_t sent, answered, failed, connects, redirects;
    uint64_t bytes_out, bytes_in, keys_sent;
};

void link_look(const struct link *link, struct link_state *ret_state);

/* For tests, in a namespace that begins with "test-": what time it is in Redis. 0: its own. */
void link_tell_time(struct link *link, uint64_t now_us);

#endif
