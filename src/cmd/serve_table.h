/* The table of `mete serve`: made anew, or taken up from table.file. */
#ifndef METE_CMD_SERVE_TABLE_H
#define METE_CMD_SERVE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct server;
struct table_options;

/* What the configuration asks for, without secrets and ids. */
struct table_options serve_table_options(struct server *server);

/* Opens the file, makes or takes up the table, binds the configuration's owners to its rows; then
 * server->row_count is how many there are. Results: 0, or an exit status after saying why. */
int serve_make_table(struct server *server);

/* A piece of what was taken up is looked at; when all was, the log says what was found. False:
 * nothing is left to do. */
bool serve_settle_table(struct server *server);

/* For the line that the daemon starts with: "", or how the file was found. Looks at what was taken
 * up first, as far as a moment goes. */
void serve_format_start(struct server *server, char *text, size_t size);

/* For `mete stats`: ,"file":{...} and a line; nothing for a table that goes with the process. Any
 * thread. */
void serve_print_table_json(const struct server *server, FILE *out);
void serve_print_table_text(const struct server *server, FILE *out);

void serve_close_table(struct server *server);

#endif
