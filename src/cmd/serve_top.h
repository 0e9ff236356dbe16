/* What `mete top` asks for each second: numbers that are cheap to have and bounded in size, as one
 * JSON object. Of the rules the SERVE_TOP_RULES that were asked most since anybody looked last; of
 * the subjects the heaviest of the samples. Main thread. */
#ifndef METE_CMD_SERVE_TOP_H
#define METE_CMD_SERVE_TOP_H

#include <stdint.h>
#include <stdio.h>

#define SERVE_TOP_RULES 64u
#define SERVE_TOP_SUBJECTS 32u

struct server;
struct serve_top;

/* Takes what it needs when it is asked first: most daemons never are. "error: ..." if there is no
 * memory for it. */
void serve_top_answer(struct server *server, FILE *out);
void serve_top_free(struct serve_top *top); /* NULL is nothing */

#endif
