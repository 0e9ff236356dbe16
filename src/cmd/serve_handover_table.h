/* What an upgrade carries over beside the sockets. Main thread. */
#ifndef METE_CMD_SERVE_HANDOVER_TABLE_H
#define METE_CMD_SERVE_HANDOVER_TABLE_H

#include "cmd/serve_handover.h"

void serve_describe_table(const struct server *server, struct handover_facts *ret_facts);
int serve_judge_facts(const struct server *server);
int serve_send_table(const struct server *server, int fd);
int serve_receive_table(struct server *server, int fd);

#endif
