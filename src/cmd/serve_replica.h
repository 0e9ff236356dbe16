/* The replication thread: what the workers charged goes to Redis, what other nodes charged comes
 * into the table. serve_replica.c says how. */
#ifndef METE_CMD_SERVE_REPLICA_H
#define METE_CMD_SERVE_REPLICA_H

#include <stdint.h>
#include <stdio.h>

struct config;
struct engine_shared;
struct http_out;
struct server;
struct serve_replica;

/* Threads that the configuration needs: 1 with redis.url, else 0. It is the last reader of what is
 * published. */
unsigned serve_count_replica(const struct config *config);

/* What it keeps in the table's mapping (TABLE_SECTION_REPLICA). */
uint64_t serve_replica_bytes(const struct config *config);

/* Takes the memory; with no redis.url it does nothing. Results: 0, or an exit status after saying
 * what is wrong. */
int serve_open_replica(struct server *server);

/* What a thread that decides needs; NULL without redis.url. */
struct engine_shared *serve_shared(const struct server *server, unsigned thread);

/* Before the workers, and waits up to a quarter of a second for the first answer: windows run on
 * the store's clock, and first shares go by the number of nodes. That of a process that takes over
 * begins at rest. Results as above. */
int serve_start_replica(struct server *server);

/* ---- an upgrade (serve_handover.h) ----
 *
 * The node goes over as kill -9 leaves it: who it is, its rows and batches lie in the table's
 * mapping, what was sent and not answered stands there as that, and the new process sends it again
 * under its number, which the store knows or not. So nothing is waited for, least of all a store
 * that is away, and a process that does not take over after all leaves nothing to undo: the old one
 * goes on where it stood. */

/* While the threads that decide are at rest: what the rings hold goes into the rows, and nothing is
 * sent, and neither table nor rings are touched, until serve_replica_go_on(). */
void serve_rest_replica(struct server *server);
void serve_replica_go_on(struct server *server);

/* Of what the table brought: is it of a node that this configuration can be? Results as above. */
int serve_judge_replica(const struct server *server);

/* After the last thread that decides has ended: sends what is left, as far as one round trip goes,
 * and gives the memory back. */
void serve_stop_replica(struct server *server);

/* For `mete stats` and for Prometheus; nothing without redis.url. Any thread. */
void serve_print_replica_json(const struct server *server, FILE *out); /* ,"replica":{...} */
void serve_print_replica_text(const struct server *server, FILE *out);
void serve_print_replica_metrics(const struct server *server, struct http_out *out);

#endif
