/* Where Redis is: redis://HOST[:PORT][,HOST[:PORT]...][/DATABASE], rediss:// for TLS, unix:///PATH.
 * Several hosts are nodes of one Cluster to begin with. Users and passwords have fields and files
 * of their own and are refused here. Pure; any thread. */
#ifndef METE_CONFIG_REDIS_URL_H
#define METE_CONFIG_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

#define REDIS_MAX_HOST 256u
#define REDIS_MAX_SEEDS 16u
#define REDIS_MAX_PATH 107u
#define REDIS_MAX_DATABASE 65535u

struct redis_address {
    char host[REDIS_MAX_HOST]; /* a name, a number without brackets, or a path */
    char port[6];              /* "": host is the path of a UNIX socket */
};

struct redis_url {
    struct redis_address seeds[REDIS_MAX_SEEDS];
    unsigned seed_count;
    unsigned database;
    bool is_tls;
};

/* Results: 0; -EINVAL with one clause in problem that says what the URL lacks. */
int redis_url_parse(const char *text, struct redis_url *ret_url, char *problem, size_t size);

/* HOST:PORT, an IPv6 address with brackets or, as a Cluster tells it, without. Results: 0; -EINVAL,
 * with a clause in problem if there is room for one. */
int redis_address_parse(const char *text, size_t len, struct redis_address *ret_address,
                        char *problem, size_t size);

/* "10.0.0.1:6379", "[::1]:6379" or the path. */
const char *redis_address_text(const struct redis_address *address, char *ret_text, size_t size);

bool redis_address_equal(const struct redis_address *a, const struct redis_address *b);

#endif
