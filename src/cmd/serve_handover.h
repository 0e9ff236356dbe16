/* An upgrade: a new process takes the place of the one that serves, with its very sockets and its
 * table, and no datagram is lost.
 *
 *   new                                   running
 *   connects to listen.admin, asks        says who it is (facts), hands over every socket
 *   opens all it needs, at rest
 *   READY                                 doors, workers, replication come to rest: what
 *                                         they took is answered, what arrives waits in sockets
 *   takes the table                       sends it
 *   TAKEN
 *                                         YOURS; ends
 *   serves
 *
 * Until YOURS the running one can go on and does: whatever the new one does wrong, or not at all,
 * costs nothing but the pause from READY on, which ends when the new one is gone or has stood still
 * for HANDOVER_PATIENCE_MS. There is no instant at which both serve.
 *
 * Only the daemon's own user and root may ask. The conversation has a number: who speaks another is
 * refused with a line that says so. Main thread. */
#ifndef METE_CMD_SERVE_HANDOVER_H
#define METE_CMD_SERVE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "net/xdp.h"
#include "table/carry.h"

#define HANDOVER_PROTOCOL 2u
#define HANDOVER_COMMAND "handover"
#define HANDOVER_PATIENCE_MS 5000        /* while nobody serves */
#define HANDOVER_START_PATIENCE_MS 10000 /* of the new one */
#define HANDOVER_ROLE_SIZE 16u
#define HANDOVER_VERSION_SIZE 64u

/* Of messages. SOCKETS has descriptors, and as bytes a role of HANDOVER_ROLE_SIZE for each. READY
 * says by a uint32_t whether the table is joined (1) or to be copied. After TABLE follow, without a
 * head, what tenants have left of their checks and what is to be copied. */
enum handover_kind {
    HANDOVER_FACTS = 1,
    HANDOVER_SOCKETS,
    HANDOVER_READY,
    HANDOVER_TABLE,
    HANDOVER_TAKEN,
    HANDOVER_YOURS,
};

struct handover_facts { /* between processes of one machine: as it lies in memory */
    uint32_t protocol;
    uint32_t socket_count;
    char version[HANDOVER_VERSION_SIZE];
    struct table_making table; /* with the secret that places keys */
    uint64_t quota_bytes;
    uint64_t unix_socket_is_passed;
};

struct admin_peer;
struct server;

struct handover {                        /* of either side */
    int fd;                              /* -1: none is under way */
    int pid;                             /* of the other process */
    char version[HANDOVER_VERSION_SIZE]; /* and what it is */
    /* the new one's: */
    struct handover_facts facts; /* of the other */
    unsigned socket_count;       /* that came */
    int table_fd;                /* of its table.file; -1: none */
    struct xdp_passed xdp;       /* of its backend af_xdp */
    bool has_xdp;
    bool is_joined; /* the table is the very memory */
    bool is_taken;  /* and after it: this process began so */
};

/* ---- the running one ---- */

/* Answers the command of a new process: on its connection, or by an error in out. */
void serve_begin_handover(struct server *server, const struct admin_peer *peer, const char *command,
                          FILE *out);

/* server->handover.fd is readable. True: all is the new process's now; what is left is to end. */
bool serve_go_on_handover(struct server *server);

/* ---- the new one ---- */

/* Asks the daemon at listen.admin for its sockets. Results: 0, or EXIT_USAGE after saying why. */
int serve_ask_handover(struct server *server);

/* Everything is open and at rest: takes the table, and serves. Results as above; the running one
 * serves on then. */
int serve_take_over(struct server *server);

#endif
