/* An upgrade: a new process takes the place of the one that serves, with its very sockets and its
 * table, and no datagram is lost.
 *
 *   new                                   running
 *   connects to listen.admin, asks        says who it is (facts), hands over every socket
 *   opens all it needs, at rest
 *   READY                                 its doors, then its workers come to rest: what they took
 *                                         is answered, what arrives waits in the sockets
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

#define HANDOVER_PROTOCOL 1u
#define HANDOVER_COMMAND "handover"
#define HANDOVER_PATIENCE_MS 2000        /* while nobody serves */
#define HANDOVER_START_PATIENCE_MS 10000 /* of the new one, for the first answer and for the rest  \
                                          */
#define HANDOVER_ROLE_SIZE 16u
#define HANDOVER_VERSION_SIZE 64u

enum handover_kind { /* of messages */
                     HANDOVER_FACTS = 1,
                     HANDOVER_SOCKETS, /* descriptors; bytes: a role of HANDOVER_ROLE_SIZE for each
                                        */
                     HANDOVER_READY,
                     HANDOVER_TABLE, /* the bytes of the table follow, then those of the repeat set
                                      */
                     HANDOVER_TAKEN,
                     HANDOVER_YOURS,
};

struct handover_facts { /* between processes of one machine: as it lies in memory */
    uint32_t protocol;
    uint32_t socket_count;
    char version[HANDOVER_VERSION_SIZE];
    uint64_t table_bytes;
    uint64_t entries;
    uint64_t index_secret[2];
    uint64_t boot_id;
    uint64_t time_base_ns;
    uint64_t repeat_bytes;
    uint64_t repeat_secret[2];
    uint32_t owner_rows;
    uint32_t layout_version;
    uint32_t unix_socket_is_passed;
    uint32_t zero;
};

struct admin_peer;
struct server;

struct handover {                        /* of either side */
    int fd;                              /* -1: none is under way */
    int pid;                             /* of the other process */
    char version[HANDOVER_VERSION_SIZE]; /* and what it is */
    struct handover_facts facts;         /* the new one's: of the other */
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
