/* What an upgrade carries over beside the sockets. */
#include "cmd/serve_handover_table.h"

#include "cmd/cmd.h"
#include "cmd/server.h"
#include "sys/handover.h"

void serve_describe_table(const struct server *server, struct handover_facts *ret_facts)
{
    ret_facts->table_bytes = table_size_bytes(server->table);
}

int serve_judge_facts(const struct server *server)
{
    (void)server;
    return 0;
}

int serve_send_table(const struct server *server, int fd)
{
    (void)server;
    (void)fd;
    return 0;
}

int serve_receive_table(struct server *server, int fd)
{
    (void)server;
    (void)fd;
    return 0;
}
