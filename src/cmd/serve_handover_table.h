/* The table's way in an upgrade (cmd/serve_handover.h). Two ways, and the new process chooses:
 *
 *   joined   both name the same table.file: the new one maps the memory that the running one has
 *   copied   else: the contents go over the socket, which takes about a millisecond for 2 MB. What
 *            is passed by descriptor would have to lie in shared memory, where most systems give no
 *            huge pages, and the hot path would pay for it from the first day on
 *
 * Either way boot id, index secret and clock are what they were: clients notice nothing. Main
 * thread. */
#ifndef METE_CMD_SERVE_HANDOVER_TABLE_H
#define METE_CMD_SERVE_HANDOVER_TABLE_H

#include <stdbool.h>

#include "cmd/serve_handover.h"

#define HANDOVER_TABLE_ROLE "table" /* of the descriptor of table.file */

/* ---- the running one ---- */

void serve_describe_table(const struct server *server, struct handover_facts *ret_facts);

/* Copies it to the new process, or nothing if that has joined it. Results: 0, or a negative errno.
 */
int serve_send_table(struct server *server, bool is_joined);

/* The new process did not take over. */
void serve_keep_table(struct server *server);

/* ---- the new one ---- */

/* Can the table go over to this configuration? Results: 0, or EXIT_USAGE after saying why not. */
int serve_judge_table(struct server *server);

/* A table of the same making, in place of a new one. Results as above. */
int serve_make_taken_table(struct server *server);

/* Takes what is in it, and binds the configuration to it. Results as above. */
int serve_receive_table(struct server *server);

#endif
