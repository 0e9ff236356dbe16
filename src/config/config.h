/* The configuration as one immutable value: read once, checked whole, then only read.
 *
 * config_load() takes defaults, a YAML file, the environment (METE_LISTEN_UDP) and `--set
 * path=value` in rising order of strength. A mistake anywhere yields no configuration but one line
 * that says file:line:field, what was wrong and what would be right. Names are those of the
 * design's YAML. Secrets lie in memory that is locked, kept out of core dumps and wiped when it is
 * given back.
 *
 * Threads: made and destroyed by one; any number may read in between. */
#ifndef METE_CONFIG_CONFIG_H
#define METE_CONFIG_CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/calendars.h"
#include "core/key.h"
#include "core/limit.h"

enum config_filter { FILTER_AUTO, FILTER_OFF };
enum config_shedding { SHEDDING_AUTO, SHEDDING_OFF };
enum config_steering { STEERING_FLOW, STEERING_CPU };
enum config_reload { RELOAD_SIGNAL, RELOAD_WATCH };
enum config_log { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };
enum config_backend { BACKEND_AUTO, BACKEND_IO_URING, BACKEND_MMSG, BACKEND_AF_XDP };
enum config_xdp_carry { CONFIG_XDP_CARRY_OFF, CONFIG_XDP_CARRY_ON };
enum config_xdp_mode { CONFIG_XDP_AUTO, CONFIG_XDP_NATIVE, CONFIG_XDP_GENERIC };
enum config_on_full { ON_FULL_EVICT, ON_FULL_ALLOW, ON_FULL_DENY };
enum config_on_bad_file { ON_BAD_FILE_START, ON_BAD_FILE_REFUSE };

#define CONFIG_BACKENDS                                                                            \
    {                                                                                              \
        "auto", "io_uring", "mmsg", "af_xdp", NULL                                                 \
    }
#define CONFIG_XDP_MODES                                                                           \
    {                                                                                              \
        "auto", "native", "generic", NULL                                                          \
    }

#define CONFIG_MAX_LISTEN 8u
#define CONFIG_MAX_XDP_QUEUES 64u
#define CONFIG_MIN_XDP_RING 256u
#define CONFIG_MAX_XDP_RING 16384u
#define CONFIG_MAX_WORKERS 256u
#define CONFIG_MAX_CONNECTIONS 65536u
#define CONFIG_MAX_SPIN_US 1000000u
#define CONFIG_MAX_NETWORKS 64u
#define CONFIG_MAX_SECRETS 2u       /* of a tenant, that overlap while one replaces the other */
#define CONFIG_MAX_SECRET_BYTES 64u /* of one; the key file has 32 */
#define CONFIG_KEY_BYTES 32u        /* of the key file */
#define CONFIG_HASH_SIZE 65u        /* BLAKE2b-256 as hex digits, with its end */
#define CONFIG_KEY_HASH_BYTES 32u   /* SHA-256 */
#define CONFIG_MAX_API_KEYS 64u     /* of a tenant */
#define CONFIG_MAX_PREFIXES 1024u   /* among the overrides of a rule */
#define CONFIG_MAX_SUBJECT 255u     /* bytes of a whole subject among them */
#define CONFIG_MAX_PREFIX 111u      /* bytes of a prefix: the longest subject in a datagram */
#define CONFIG_MAX_NAME 64u         /* bytes of a tenant's, tier's or rule's name */
#define CONFIG_MAX_NODES 1024u      /* of a namespace */
#define CONFIG_MAX_NODE_ID ((1ull << 53) - 1)
#define CONFIG_MAX_PARTITIONS 1024u /* of a namespace */
#define CONFIG_MIN_ROWS 1024u       /* of the keys that replication knows at one time */
#define CONFIG_MAX_ROWS (1u << 24)
#define CONFIG_MAX_RING (1u << 22)
#define CONFIG_MAX_INDICES (1u << 20)
#define CONFIG_MIN_ENTRIES 16u /* of the table, of a region, of what regions leave */
#define CONFIG_MAX_ENTRIES (1ull << 33)

/* Families of headers that tell of limits: bits in the order of their names. */
enum {
    CONFIG_HEADERS_X = 1,           /* X-RateLimit-Limit, -Remaining, -Reset */
    CONFIG_HEADERS_IETF = 2,        /* RateLimit-Policy, RateLimit */
    CONFIG_HEADERS_RETRY_AFTER = 4, /* Retry-After */
    CONFIG_HEADERS_ALL = 7,
};
#define CONFIG_HEADERS_NAMES                                                                       \
    {                                                                                              \
        "x", "ietf", "retry_after", NULL                                                           \
    }

struct config_address { /* of listen.udp */
    struct sockaddr_storage address;
    socklen_t len;
    char text[64]; /* as written */
};

struct config_door {               /* where a door listens; neither address nor path: it is off */
    struct config_address address; /* len 0: none */
    char *path;                    /* of a UNIX stream socket, or NULL */
};

/* What makes a door speak TLS: the section `tls`. Whoever loads a configuration says by hooks who
 * turns files into a context (doors/tls.h), for this module knows no TLS; without hooks the files
 * are not looked at. */
enum config_clients { CLIENTS_OPTIONAL, CLIENTS_REQUIRED };
enum config_tls_field { CONFIG_TLS_CERTIFICATE, CONFIG_TLS_KEY, CONFIG_TLS_CLIENT_CA };

struct config_file {
    char *path;    /* absolute, or NULL */
    unsigned line; /* where it was named; 0: not in the file */
};

struct tls_context;
struct config_tls_hooks;

struct config_tls {
    struct config_file certificate, key; /* both or none */
    struct config_file client_ca;        /* path NULL: clients are not asked for certificates */
    enum config_clients clients;
    struct tls_context *context; /* NULL: no certificate, or no hooks */
    const struct config_tls_hooks *hooks;
};

struct config_tls_hooks {
    /* Results: 0, or a negative errno with what is wrong in problem and with which file. */
    int (*create)(const struct config_tls *tls, enum config_tls_field *ret_field, char *problem,
                  size_t size, struct tls_context **ret_context);
    void (*destroy)(struct tls_context *context);
};

struct config_network { /* of trusted_networks; v4 is kept as v4-mapped v6 */
    uint8_t prefix[16];
    uint8_t bits;
};

struct config_overload {      /* when more is asked than can be answered */
    uint64_t delay_budget_ns; /* the sockets' buffers hold what it takes so long to answer */
    uint64_t max_age_ns;      /* a request that was first sent longer ago is of no use */
    uint64_t shed_answers;    /* a second and worker */
    enum config_shedding shedding;
};

struct config_redis {           /* the store of several nodes; url NULL: there is none */
    char *url;                  /* redis_url_parse() takes it */
    char *user, *password_file; /* or NULL; the password is read at the start */
    char *ca_file;              /* that signed the server's certificate; NULL: the system's */
    uint64_t flush_ns;          /* between two batches of a partition while there is something */
    uint64_t nodes;             /* how many there are believed to be before the store says it */
    uint64_t node_id;           /* 0: random */
    uint64_t partitions;        /* of the namespace: the same on every node */
    uint64_t rows;              /* keys with something to tell, or told, at one time */
    uint64_t ring;              /* events on their way to the replication thread, per thread */
    uint64_t exact_wait_ns;     /* longest wait of exact mode */
};

/* Ids to positions, for the lookups on the hot path; private to config/find.c. */
struct config_slot {
    uint32_t id; /* 0: empty */
    uint32_t position;
};

struct config_index {
    struct config_slot *slots; /* open addressing, a power of two */
    uint32_t multiplier;
    uint32_t shift;
};

/* API keys by their hash; private to config/find_key.c. */
struct config_key_slot {
    const struct tenant *tenant;
    const struct config_api_key *key; /* NULL: empty */
};

struct config_key_index {
    struct config_key_slot *slots; /* open addressing, a power of two */
    uint32_t mask;
    uint64_t seed;
};

struct config_secret {
    uint8_t bytes[CONFIG_MAX_SECRET_BYTES];
    uint8_t len;
};

/* Who may ask at the doors: whoever shows a key, of which only the hash is known here, or a client
 * certificate with a name, of which this is the hash then. */
struct config_api_key {
    char *name; /* distinct in its tenant */
    uint8_t sha256[CONFIG_KEY_HASH_BYTES];
    char *certificate; /* "cn:NAME", "dns:NAME", "uri:NAME", "email:NAME", "spki:HEX"; or NULL */
    bool may_check;
    bool may_manage; /* reset, refund, usage */
};

struct rule {
    char *name;  /* an override's: "api[user:42]", "api[bot:*]" */
    uint32_t id; /* FNV-1a of the name, or its `id:`; never 0 */
    uint32_t
        index; /* distinct over all tenants; once bound to a table: the number of its owner row */
    struct limit limit;
    struct config_overrides *overrides; /* or NULL */
    bool needs_subject;                 /* some overrides go by prefix, which a key does not show */
    bool shadow;                        /* decide and count, never deny */
    bool queue;                         /* leaky bucket in queue mode */
    bool has_sync, has_on_loss;         /* the file says so; else limit has the default */
    struct limit_spec spec; /* burst filled in for buckets, 0 for all others; behind what a check
                               reads */
    const struct calendar *calendar; /* of the configuration's; ALGORITHM_CALENDAR only */
};

/* What one subject, or all that start with a prefix, have instead of a rule's numbers. Its rule has
 * the id, algorithm and flags of the one it overrides, and an index of its own. */
struct config_override {
    struct rule rule;
    char *subject; /* whole, or the prefix */
    uint32_t len;  /* 1 to CONFIG_MAX_SUBJECT or CONFIG_MAX_PREFIX */
    bool is_prefix;
};

struct config_overrides {
    struct config_override *items; /* whole subjects, then prefixes, each in the order of bytes */
    uint32_t count;
    uint32_t whole_count;
    struct override_slot *slots; /* by key; this and the rest are find_override.c's */
    uint64_t mask;
    struct override_prefix *prefixes;
};

struct tenant {
    char *name;
    uint32_t id;
    const char *tier;     /* one of config->tiers, or NULL */
    const uint64_t *seed; /* of key_of_subject(): BLAKE2b of key and name, in locked memory */
    const struct config_secret *secrets;    /* in locked memory; the first is the newest */
    uint32_t secret_count;                  /* 0: only trusted paths can ask for it */
    char *secret_files[CONFIG_MAX_SECRETS]; /* where they were read, absolute */
    struct config_api_key *api_keys;
    uint32_t api_key_count;
    struct limit checks; /* of all its checks together; ALGORITHM_UNLIMITED: none asked for */
    struct limit_spec checks_spec;
    uint64_t entries;   /* a region of its own; 0: shares the rest */
    struct rule *rules; /* its own and its tier's, in the order of their ids */
    uint32_t rule_count;
    uint32_t first_rule_index;
    const struct rule *fallback;     /* the rule named `default`, or NULL */
    struct descriptors *descriptors; /* what an Envoy asks for, or NULL */
    bool charges_each;               /* of a denied request too: the descriptors that pass */
    bool adds_headers;               /* to what Envoy answers */
    bool has_exact;                  /* some rule is; once bound to a table */
    uint32_t inline_index;           /* index for counters and owner row of its inline limits */
    struct config_index index;       /* of rules */
};

/* An interface whose datagrams go past the sockets, with backend af_xdp. */
struct config_xdp {
    char *interface; /* its name, or NULL: none */
    unsigned queues; /* of it, the first so many; 0: all */
    enum config_xdp_mode mode;
    uint64_t vlan; /* number of the 802.1Q tag that its frames carry; 0: none */
    uint64_t ring; /* datagrams that may wait on each queue; a power of two */
    enum config_xdp_carry carry;
};

struct config {
    char *path; /* of the file, or NULL: embedded default */
    char *namespace_name;
    struct config_address listen_udp[CONFIG_MAX_LISTEN];
    unsigned listen_udp_count;
    char *listen_admin;           /* path, or NULL: off */
    bool listen_admin_is_default; /* not asked for: if it cannot be made, go on without */
    char *listen_unix;            /* path of the datagram socket, or NULL: off */
    struct config_door listen_resp;
    struct config_door listen_http;
    struct config_door listen_grpc;
    struct config_door listen_resp_tls;
    struct config_door listen_http_tls;
    struct config_door listen_grpc_tls;
    struct config_tls tls;
    struct config_door listen_metrics; /* all tenants: never on a tenants' door */
    uint64_t door_connections;         /* most of them at one time, over all doors */
    uint64_t door_idle_ns;             /* silence, and half a request, end a connection after it */
    char *echo_rule;                   /* name of the rule that limits /echo, or NULL: none */
    unsigned http_headers;             /* CONFIG_HEADERS_... */
    struct config_door otlp_endpoint;  /* of a collector of traces and metrics */
    uint64_t otlp_sample_every;        /* a span of each so-many-th decision; 0: who is told to */
    uint64_t otlp_every_ns;            /* metrics */
    char *key_file;                    /* absolute, or NULL; its bytes are in no memory */
    uint64_t key_fingerprint;          /* of its bytes; of nothing without */
    char file_hash[CONFIG_HASH_SIZE];  /* of the bytes of the file, or of the embedded default */
    enum config_reload reload;
    enum config_log log;
    struct config_network trusted[CONFIG_MAX_NETWORKS];
    unsigned trusted_count;
    uint64_t repeat_window_ns;     /* W: how long the same bytes are known again; 0: never */
    uint64_t repeat_ahead_ns;      /* how far a client's clock may lead */
    uint64_t repeat_bytes;         /* memory of the repeat set, per worker */
    enum config_filter filter;     /* drop floods in the kernel */
    enum config_steering steering; /* which worker gets a datagram */
    unsigned workers;              /* 0: auto, one per usable core */
    struct config_overload overload;
    uint64_t spin_us; /* how long a worker looks for datagrams before it sleeps */
    enum config_backend backend;
    struct config_xdp xdp;
    struct config_redis redis;
    uint64_t table_entries;
    enum config_on_full on_full;
    char *table_file; /* NULL: the table goes with the process */
    enum config_on_bad_file on_bad_file;
    char *snapshot_path;        /* of table.snapshot, absolute; NULL: none is written */
    uint64_t snapshot_every_ns; /* from the begin of one to that of the next */
    struct tenant *tenants;     /* in the order of their ids */
    uint32_t tenant_count;
    const struct tenant *anonymous; /* the tenant `default`, or NULL */
    uint32_t index_count;           /* of rule, override and inline indices over all tenants */
    char **tiers;                   /* their names; the rules stand in the tenants */
    uint32_t tier_count;
    struct config_index index;     /* of tenants */
    struct config_key_index keys;  /* of all tenants */
    struct calendars calendars;    /* what calendar limits count by */
    struct config_secret *secrets; /* of all tenants, in locked memory */
    uint32_t secret_total;
    uint64_t *seeds; /* of all tenants, in locked memory */
    uint32_t seed_total;
    bool secrets_are_unlocked;    /* some could not be kept from the swap: RLIMIT_MEMLOCK */
    struct secret_reader *reader; /* only while it is loaded */
};

/* Reads a file that holds a secret into at most size bytes. Result: 0, or -EINVAL with what is
 * wrong in problem, which never quotes the bytes. */
typedef int (*config_read_fn)(const char *path, uint8_t *ret_bytes, size_t size, size_t *ret_len,
                              char *problem, size_t problem_size);

struct config_options {
    const char *path;        /* or NULL: embedded default */
    const char *const *sets; /* "path=value" */
    unsigned set_count;
    char **environment;                 /* like environ; NULL: none */
    const struct config_tls_hooks *tls; /* or NULL */
    config_read_fn read; /* NULL: config_read_file; fuzzing has no business with real files */
};

/* Result: a configuration, or NULL with one line without newline in error (truncated to size). */
struct config *config_load(const struct config_options *options, char *error, size_t size);

/* As config_load, from bytes in memory; name stands for the file in messages and for the folder
 * that relative paths start from. For tests and fuzzing. */
struct config *config_parse(const char *name, const char *text, size_t len, char *error,
                            size_t size);
struct config *config_parse_options(const struct config_options *options, const char *text,
                                    size_t len, char *error, size_t size);

/* Opens a regular file that only its owner can read, and reads it: config_read_fn. A file longer
 * than size gives size bytes. */
int config_read_file(const char *path, uint8_t *ret_bytes, size_t size, size_t *ret_len,
                     char *problem, size_t problem_size);

/* Is this the text of a secret, where the path of its file should stand? Such a one is not shown.
 */
bool config_is_secret_text(const char *path);

/* The secret in such a file, by the rules of a configuration: 64 hex digits are 32 bytes, anything
 * else up to 64 bytes is taken as it is, without one newline at its end. Results as above. */
int config_read_secret(const char *path, struct config_secret *ret_secret, char *problem,
                       size_t problem_size);

/* Wipes and frees. */
void config_destroy(struct config *config);

/* The effective configuration as YAML that config_load() accepts again, secrets masked; the rate
 * a bucket really has stands as a comment where it differs by more than 1e-6. */
void config_print(const struct config *config, FILE *out);

/* NULL if there is none. Hot path: no allocation, no lock. */
const struct tenant *config_find_tenant(const struct config *config, uint32_t id);
/* The rule of that id, else the tenant's `default`, else NULL. Hot path. */
const struct rule *config_find_rule(const struct tenant *tenant, uint32_t id);

/* Whose key has this hash, or whose client certificate that name? NULL: nobody's. The time depends
 * on neither. */
const struct config_api_key *config_find_key(const struct config *config, const uint8_t *hash,
                                             bool is_certificate, const struct tenant **ret_tenant);

/* The rule to judge a subject by: the override of the whole subject, else of the longest prefix,
 * else the rule itself. subject may be NULL, then NULL says that it is needed: an override by
 * prefix may apply. key is key_of_subject() with the tenant's seed. Hot path: no allocation, no
 * lock, one probe for whole subjects, a binary search and at most CONFIG_MAX_PREFIX steps for
 * prefixes. */
const struct rule *config_find_override(const struct rule *rule, struct key key,
                                        const void *subject, size_t len);

/* By name, for commands. */
const struct tenant *config_find_tenant_by_name(const struct config *config, const char *name);

/* "token_bucket 10/s burst 20", "sliding_window 5/60s", "deny": a rule in one line, as `mete
 * replay` takes it. Result: 0, or -EINVAL with one line in error. */
int config_parse_rule_text(const char *text, struct limit_spec *ret_spec, char *error, size_t size);

/* The same, compiled; "calendar 100/month Europe/Berlin" too, whose calendar is for free(), else it
 * is NULL. Result: 0, or -EINVAL with one line in error. */
int config_compile_rule_text(const char *text, struct limit *ret_limit,
                             struct calendar **ret_calendar, char *error, size_t size);

/* "127.0.0.1:6384", "/run/mete/resp.sock", or NULL for a door that is off. */
const char *config_door_text(const struct config_door *door);

/* Is any door open that speaks TLS? */
bool config_has_tls_door(const struct config *config);

/* Is it this machine's own: 127.0.0.0/8, ::1, a UNIX socket? */
bool config_is_loopback(const struct sockaddr *address);

/* Is the address loopback or inside a trusted network? Hot path. */
bool config_is_trusted(const struct config *config, const struct sockaddr *address);

/* The embedded default, as text. */
extern const char config_default_yaml[];

#endif
