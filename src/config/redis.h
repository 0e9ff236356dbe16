/* `redis:`: where the store of several nodes is. Loading only, one thread, but for
 * redis_url_parse(). */
#ifndef METE_CONFIG_REDIS_H
#define METE_CONFIG_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct node;
struct report;

/* redis://HOST[:PORT][/DATABASE], rediss:// (TLS), unix:///PATH[?db=DATABASE]. */
struct redis_url {
    char host[256]; /* without brackets; empty: path */
    char path[108]; /* of a UNIX socket */
    uint16_t port;
    uint32_t database;
    bool is_tls;
};

/* Result: 0, or -EINVAL with a clause in problem that says what is wrong. */
int redis_url_parse(const char *text, struct redis_url *ret_url, char *problem, size_t size);

/* `redis.url`; `none` is NULL. Results: 0, -EINVAL, -ENOMEM, reported. */
int redis_apply_url(const struct report *report, const struct node *node, char **ret_url);

/* `redis.user`; `none` is NULL. Results as above. */
int redis_apply_user(const struct report *report, const struct node *node, char **ret_user);

/* What only all fields together show. Results as above. */
int redis_judge(const struct report *report, const struct config *config);

void redis_free(struct config *config);

#endif
