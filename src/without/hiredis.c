/* In place of cmd/serve_replica*.c and the link to Redis in a build without hiredis:
 * config/parts.c refuses redis.url, so every daemon is one that shares nothing. */
#include "cmd/serve_replica.h"

unsigned serve_count_replica(const struct config *config)
{
    (void)config;
    return 0;
}

uint64_t serve_replica_bytes(const struct config *config)
{
    (void)config;
    return 0;
}

int serve_open_replica(struct server *server)
{
    (void)server;
    return 0;
}

struct engine_shared *serve_shared(const struct server *server, unsigned thread)
{
    (void)server;
    (void)thread;
    return NULL;
}

int serve_start_replica(struct server *server)
{
    (void)server;
    return 0;
}

void serve_rest_replica(struct server *server)
{
    (void)server;
}

void serve_replica_go_on(struct server *server)
{
    (void)server;
}

int serve_judge_replica(const struct server *server)
{
    (void)server;
    return 0;
}

void serve_stop_replica(struct server *server)
{
    (void)server;
}

void serve_print_replica_json(const struct server *server, FILE *out)
{
    (void)server;
    (void)out;
}

void serve_print_replica_text(const struct server *server, FILE *out)
{
    (void)server;
    (void)out;
}

void serve_print_replica_metrics(const struct server *server, struct http_out *out)
{
    (void)server;
    (void)out;
}
