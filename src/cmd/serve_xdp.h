/* The interface of backend af_xdp: opened while there are privileges, shared by the workers. */
#ifndef METE_CMD_SERVE_XDP_H
#define METE_CMD_SERVE_XDP_H

#include <stddef.h>

struct server;

/* After the sockets, whose addresses it takes. Results: 0, or an exit status after saying why. */
int serve_open_xdp(struct server *server);
void serve_close_xdp(struct server *server);

/* ---- the new side of an upgrade: what is open is the running one's, until that is over ---- */

/* Are both of this backend? Results as above. */
int serve_judge_xdp(const struct server *server);
void serve_take_over_xdp(struct server *server);

/* "af_xdp" for the start-up line, and what stands behind it; or the workers' own backend. */
void serve_format_backend(const struct server *server, char *out, size_t size);

#endif
