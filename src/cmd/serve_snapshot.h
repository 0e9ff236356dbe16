/* table.snapshot: the table on disk. At the start what stands there is put into the new table; then
 * a thread of its own, at the lowest priority and on a tenth of a core at most, writes it anew
 * every snapshot_every, when an operator asks, and once more at the stop. serve_snapshot.c says
 * how.
 *
 * Threads: the main thread, but for what is printed. */
#ifndef METE_CMD_SERVE_SNAPSHOT_H
#define METE_CMD_SERVE_SNAPSHOT_H

#include <stdio.h>

struct config;
struct http_out;
struct serve_snapshot;
struct server;

/* Readers of what is published that the configuration needs: 1 with table.snapshot, else 0. It is
 * the last one. */
unsigned serve_count_snapshot(const struct config *config);

/* Opens the folder. Results: 0, or an exit status after saying what is wrong. */
int serve_open_snapshot(struct server *server);

/* Puts what was written last into a new table, before anybody charges (one that was taken up from
 * table.file knows better); says what came of it. A file
 * that cannot be used is a cold start, and is kept as FILE.old when it is replaced. */
void serve_load_snapshot(struct server *server);

/* Results as above. */
int serve_start_snapshot(struct server *server);

/* Writes the last one, when nobody charges any more. */
void serve_stop_snapshot(struct server *server);

/* Before rows get other owners, after a quiet point: a copy that is under way begins again. */
void serve_renew_snapshot(struct server *server);

/* For `mete snapshot save`: "snapshot save" begins one and answers "ticket N"; "snapshot status N"
 * answers "running", "done: ..." or "error: ..." of it. */
void serve_answer_snapshot(struct server *server, const char *asker, const char *command,
                           FILE *out);

/* For `mete stats` and for Prometheus; nothing without table.snapshot. Any thread. */
void serve_print_snapshot_json(const struct server *server, FILE *out); /* ,"snapshot":{...} */
void serve_print_snapshot_text(const struct server *server, FILE *out);
void serve_print_snapshot_metrics(const struct server *server, struct http_out *out);

#endif
