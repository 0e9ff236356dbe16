/* `redis:`: where the store of several nodes is. Loading only, one thread. */
#ifndef METE_CONFIG_REDIS_H
#define METE_CONFIG_REDIS_H

#include <stddef.h>

struct config;
struct node;
struct report;

/* redis://HOST[:PORT][,HOST...][/DATABASE], rediss:// (TLS), unix:///PATH. Result: 0, or -EINVAL
 * with a clause in problem that says what is wrong. Any thread. */
int redis_judge_url(const char *text, char *problem, size_t size);

/* `redis.url`; `none` is NULL. Results: 0, -EINVAL, -ENOMEM, reported. */
int redis_apply_url(const struct report *report, const struct node *node, char **ret_url);

/* `redis.user`; `none` is NULL. Results as above. */
int redis_apply_user(const struct report *report, const struct node *node, char **ret_user);

/* What only all fields together show. Results as above. */
int redis_judge(const struct report *report, const struct config *config);

void redis_free(struct config *config);

#endif
