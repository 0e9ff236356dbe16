/* How much of what was sent may wait for a worker: the receive buffers of its sockets. */
#ifndef METE_CMD_SERVE_BUFFERS_H
#define METE_CMD_SERVE_BUFFERS_H

struct config;
struct server;

/* Memory for what a worker answers within overload.delay_budget, as the kernel counts it. */
int serve_buffer_bytes(const struct config *config);

/* One line if the system gave less, with what would be right. */
void serve_say_buffers(const struct server *server);

#endif
