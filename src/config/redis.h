/* `redis:`: where the store of several nodes is. Loading only, one thread. */
#ifndef METE_CONFIG_REDIS_H
#define METE_CONFIG_REDIS_H

struct config;
struct node;
struct report;

/* `redis.url` (redis_url.h); `none` is NULL. Results: 0, -EINVAL, -ENOMEM, reported. */
int redis_apply_url(const struct report *report, const struct node *node, char **ret_url);

/* `redis.user`; `none` is NULL. Results as above. */
int redis_apply_user(const struct report *report, const struct node *node, char **ret_user);

/* What only all fields together show. Results as above. */
int redis_judge(const struct report *report, const struct config *config);

void redis_free(struct config *config);

#endif
