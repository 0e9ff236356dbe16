/* Files of secrets to bytes in locked memory. The bytes go from read(2) into locked memory and
 * nowhere else: no buffer of stdio, no stack. */
#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/digest.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"
#include "sys/memory.h"

#define HEX_DIGITS (2 * CONFIG_KEY_BYTES)
#define PROBLEM_SIZE 256u

/* The longest secret, a newline, and one byte more that says "too long". */
#define TEXT_SIZE (CONFIG_MAX_SECRET_BYTES + 2)

struct secret_reader { /* in locked memory */
    config_read_fn read;
    char folder[PATH_MAX];  /* of the configuration file, absolute if that can be told */
    char current[PATH_MAX]; /* where the program runs */
    bool is_locked;
    bool has_key;
    uint8_t key[CONFIG_KEY_BYTES];
    uint8_t text[TEXT_SIZE]; /* of the file in hand */
    uint32_t used;           /* of config->secrets */
};

static int read_all(int fd, uint8_t *bytes, size_t size, size_t *ret_len)
{
    size_t len = 0;
    ssize_t got;
    do {
        got = read(fd, bytes + len, size - len);
        if (got > 0)
            len += (size_t)got;
    } while ((got > 0 && len < size) || (got < 0 && errno == EINTR));
    *ret_len = len;
    return got < 0 ? -errno : 0;
}

int config_read_file(const char *path, uint8_t *ret_bytes, size_t size, size_t *ret_len,
                     char *problem, size_t problem_size)
{
    struct stat about = {0};
    /* Not to wait for the other end of a FIFO: what it is shows below. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int result = fd < 0 || fstat(fd, &about) < 0 ? -errno : 0;

    if (result == 0 && !S_ISREG(about.st_mode)) {
        snprintf(problem, problem_size, "is not a regular file");
        result = -EINVAL;
    } else if (result == 0 && (about.st_mode & 077)) {
        snprintf(problem, problem_size,
                 "may be used by others than its owner (mode %04o); chmod 600 it",
                 about.st_mode & 07777u);
        result = -EINVAL;
    } else {
        if (result == 0)
            result = read_all(fd, ret_bytes, size, ret_len);
        if (result) {
            size_t len =
                (size_t)snprintf(problem, problem_size, "cannot be read: %s", strerror(-result));
            if (result == -EACCES && len < problem_size)
                snprintf(problem + len, problem_size - len,
                         "; it must belong to user %u, with mode 0600, in folders that this user "
                         "may pass",
                         (unsigned)geteuid());
            result = -EINVAL;
        }
    }
    if (fd >= 0)
        close(fd);
    return result;
}

/* The value of a hex digit, or -1. */
static int digit_of(uint8_t letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

bool config_is_secret_text(const char *path)
{
    size_t digits = 0;
    while (digit_of((uint8_t)path[digits]) >= 0)
        digits++;
    return path[digits] == 0 && digits >= CONFIG_KEY_BYTES;
}

/* 64 hex digits, a newline behind them or not, to 32 bytes. */
static bool decode_hex(const uint8_t *text, size_t len, uint8_t ret_bytes[CONFIG_KEY_BYTES])
{
    if (len == HEX_DIGITS + 1 && text[HEX_DIGITS] == '\n')
        len--;
    if (len != HEX_DIGITS)
        return false;
    for (size_t i = 0; i < len; i++)
        if (digit_of(text[i]) < 0)
            return false;
    for (size_t i = 0; i < CONFIG_KEY_BYTES; i++)
        ret_bytes[i] = (uint8_t)(digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
    return true;
}

static int decode_secret(const uint8_t *text, size_t len, struct config_secret *ret_secret,
                         char *problem, size_t problem_size)
{
    if (decode_hex(text, len, ret_secret->bytes)) {
        ret_secret->len = CONFIG_KEY_BYTES;
        return 0;
    }
    if (len && text[len - 1] == '\n')
        len--;
    if (len == 0 || len > CONFIG_MAX_SECRET_BYTES) {
        snprintf(problem, problem_size,
                 "%s; a secret has 1 to %u bytes, `mete secret new` makes one",
                 len ? "is too long" : "is empty", CONFIG_MAX_SECRET_BYTES);
        return -EINVAL;
    }
    memcpy(ret_secret->bytes, text, len);
    ret_secret->len = (uint8_t)len;
    return 0;
}

int config_read_secret(const char *path, struct config_secret *ret_secret, char *problem,
                       size_t problem_size)
{
    uint8_t text[TEXT_SIZE]; /* a client's, which has no locked memory */
    size_t len = 0;
    int result = config_read_file(path, text, sizeof(text), &len, problem, problem_size);
    if (result == 0)
        result = decode_secret(text, len, ret_secret, problem, problem_size);
    explicit_bzero(text, sizeof(text));
    return result;
}

/* The folder of path into resolved, absolute if it exists. */
static void resolve_folder(const char *path, char resolved[PATH_MAX])
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    const size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    char folder[PATH_MAX] = ".";
    if (len && len < sizeof(folder)) {
        memcpy(folder, path, len);
        folder[len] = 0;
    }
    if (!realpath(folder, resolved))
        memcpy(resolved, folder, sizeof(folder));
}

int secret_open_reader(const struct report *report, const struct config_options *options,
                       struct config *config)
{
    struct secret_reader *reader;
    void *memory;
    bool is_locked;
    if (memory_secret_reserve(sizeof(*reader), &is_locked, &memory))
        return report_memory(report);
    reader = memory;
    reader->read = options->read ? options->read : config_read_file;
    reader->is_locked = is_locked;
    resolve_folder(options->path, reader->folder);
    resolve_folder(NULL, reader->current);
    config->reader = reader;
    return 0;
}

void secret_close_reader(struct config *config)
{
    memory_secret_release(config->reader, sizeof(*config->reader));
    config->reader = NULL;
}

/* The absolute path that a node names. */
static int path_of(const struct report *report, const struct node *node,
                   const struct secret_reader *reader, char **ret_path)
{
    const char *folder = report->override ? reader->current : reader->folder;
    const char *text = "";
    char *path;
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (config_is_secret_text(text))
        return report_node(report, node,
                           "is a secret itself and not the path of a file; `mete secret new FILE` "
                           "makes one");
    if (strlen(text) + strlen(folder) + 2 > PATH_MAX)
        return report_node(report, node, "is a path of more than %d bytes", PATH_MAX - 1);
    if (*text == '/')
        path = strdup(text);
    else if (asprintf(&path, "%s%s%s", folder, folder[1] ? "/" : "", text) < 0)
        path = NULL;
    if (!path)
        return report_memory(report);
    *ret_path = path;
    return 0;
}

/* The text of the file that a node names into the reader; the path is for free(). */
static int read_text(const struct report *report, const struct node *node, struct config *config,
                     char **ret_path, size_t *ret_len)
{
    struct secret_reader *reader = config->reader;
    char problem[PROBLEM_SIZE] = "";
    char *path = NULL;
    int result = path_of(report, node, reader, &path);
    if (result)
        return result;
    if (reader->read(path, reader->text, sizeof(reader->text), ret_len, problem, sizeof(problem))) {
        result = report_node(report, node, "%s %s", path, problem);
        free(path);
        return result;
    }
    if (!reader->is_locked)
        config->secrets_are_unlocked = true;
    *ret_path = path;
    return 0;
}

int secret_apply_key_file(const struct report *report, const struct node *node,
                          struct config *config)
{
    struct secret_reader *reader = config->reader;
    size_t len = 0;
    char *path = NULL;

    if (node->kind == NODE_SCALAR && strcmp(node->text, "none") == 0) {
        reader->has_key = false;
    } else {
        const int result = read_text(report, node, config, &path, &len);
        if (result)
            return result;
        if (len == CONFIG_KEY_BYTES) {
            memcpy(reader->key, reader->text, len);
        } else if (!decode_hex(reader->text, len, reader->key)) {
            report_node(report, node,
                        "%s holds neither %u bytes nor %u hex digits; `mete secret new FILE` makes "
                        "a file that does",
                        path, CONFIG_KEY_BYTES, HEX_DIGITS);
            free(path);
            return -EINVAL;
        }
        reader->has_key = true;
    }
    free(config->key_file);
    config->key_file = path;
    return 0;
}

int secret_apply_path(const struct report *report, const struct node *node,
                      const struct config *config, char **ret_path)
{
    char *path = NULL;
    if (node->kind != NODE_SCALAR || strcmp(node->text, "none") != 0) {
        const int result = path_of(report, node, config->reader, &path);
        if (result)
            return result;
    }
    free(*ret_path);
    *ret_path = path;
    return 0;
}

int secret_reserve(const struct report *report, uint32_t count, struct config *config)
{
    void *memory;
    bool is_locked;
    if (count == 0)
        return 0;
    if (memory_secret_reserve(count * sizeof(*config->secrets), &is_locked, &memory))
        return report_memory(report);
    config->secrets = memory;
    config->secret_total = count;
    config->secrets_are_unlocked |= !is_locked;
    return 0;
}

int secret_reserve_seeds(const struct report *report, uint32_t count, struct config *config)
{
    void *memory;
    bool is_locked;
    if (memory_secret_reserve(count * sizeof(*config->seeds), &is_locked, &memory))
        return report_memory(report);
    config->seeds = memory;
    config->seed_total = count;
    config->key_fingerprint = digest_seed("", config->reader->has_key ? config->reader->key : NULL);
    config->secrets_are_unlocked |= !is_locked && config->reader->has_key;
    return 0;
}

const uint64_t *secret_make_seed(struct config *config, uint32_t position, const char *name)
{
    const struct secret_reader *reader = config->reader;
    config->seeds[position] = digest_seed(name, reader->has_key ? reader->key : NULL);
    return &config->seeds[position];
}

static int apply_file(const struct report *report, const struct node *node, struct config *config,
                      struct tenant *tenant, struct config_secret *secret)
{
    char problem[PROBLEM_SIZE] = "";
    size_t len = 0;
    int result = read_text(report, node, config, &tenant->secret_files[tenant->secret_count], &len);
    if (result)
        return result;
    const char *path = tenant->secret_files[tenant->secret_count];
    if (decode_secret(config->reader->text, len, secret, problem, sizeof(problem)))
        return report_node(report, node, "%s %s", path, problem);
    tenant->secret_count++;
    return 0;
}

int secret_apply_files(const struct report *report, const struct node *node, struct config *config,
                       struct tenant *tenant)
{
    struct secret_reader *reader = config->reader;
    const struct node *item = node->kind == NODE_LIST ? node->children : node;

    if (node->kind == NODE_LIST && node->count > CONFIG_MAX_SECRETS)
        return report_node(report, node, "has %u files; at most %u overlap, the new one first",
                           node->count, CONFIG_MAX_SECRETS);
    tenant->secrets = item ? &config->secrets[reader->used] : NULL;
    for (; item; item = item == node ? NULL : item->next) {
        const int result =
            apply_file(report, item, config, tenant, &config->secrets[reader->used++]);
        if (result)
            return result;
    }
    return 0;
}

void secret_release(struct config *config)
{
    secret_close_reader(config);
    memory_secret_release(config->secrets, config->secret_total * sizeof(*config->secrets));
    memory_secret_release(config->seeds, config->seed_total * sizeof(*config->seeds));
    config->secrets = NULL;
    config->seeds = NULL;
}
