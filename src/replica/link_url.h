/* Where Redis is: redis://[USER@]HOST[:PORT][,HOST[:PORT]...][/DATABASE], rediss:// for TLS,
 * unix:///PATH or a plain path. Several hosts are nodes of one Cluster to begin with. A password
 * belongs into a file of its own and is refused here. Pure. */
#ifndef METE_REPLICA_LINK_URL_H
#define METE_REPLICA_LINK_URL_H

#include <stdbool.h>
#include <stddef.h>

#define LINK_MAX_HOST 256u
#define LINK_MAX_SEEDS 16u
#define LINK_MAX_PATH 107u

struct link_address {
    char host[LINK_MAX_HOST]; /* a name, a number without brackets, or a path */
    char port[6];             /* "": host is the path of a UNIX socket */
};

struct link_url {
    struct link_address seeds[LINK_MAX_SEEDS];
    unsigned seed_count;
    char user[64]; /* "" if none is named */
    unsigned database;
    bool is_tls;
};

/* Results: 0; -EINVAL with one clause in error that says what would be right. */
int link_url_parse(const char *text, struct link_url *ret_url, char *error, size_t size);

/* HOST:PORT, a comma and so on. Results: 0, -EINVAL. */
int link_address_parse(const char *text, size_t len, struct link_address *ret_address);

/* "10.0.0.1:6379", "[::1]:6379" or the path. */
const char *link_address_text(const struct link_address *address, char *ret_text, size_t size);

bool link_address_equal(const struct link_address *a, const struct link_address *b);

#endif
