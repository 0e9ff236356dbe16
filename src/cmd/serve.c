/* `mete serve`: the only file that knows all modules. Reads the configuration, builds what it says,
 * waits for a signal, tears down in reverse. */
#include "cmd/cmd.h"
#include "cmd/server.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/socket.h"
#include "obs/log.h"

#define MAX_SETS 64u
#define BUSY_TRIES 20u
#define BUSY_PAUSE_NS 50000000l
#define RECEIVE_BUFFER_BYTES (4 << 20) /* asked for; the system may grant less */

extern char **environ;

static const char help[] =
    "usage: mete serve [--config FILE] [--set path=value ...]\n\n"
    "Runs the daemon in the foreground until SIGTERM or SIGINT. Without a file: tenant 'default' "
    "with\n"
    "the rules demo (token_bucket, 2/s, burst 10) and fast (token_bucket, 1000000/s), on "
    "127.0.0.1:6383.\n\n"
    "  --config FILE      YAML; `mete config check FILE` tries it first\n"
    "  --set path=value   one value over the file's, e.g. --set listen.udp=127.0.0.1:7000\n"
    "                     --set workers=2 --set table.entries=10000000 --set backend=mmsg\n\n"
    "METE_LISTEN_UDP=... in the environment is stronger than the file and weaker than --set.\n"
    "exit status: 0 stopped by a signal, 2 could not start (one line says why)\n";

/* 0: go on; 1: help was asked for and given; EXIT_USAGE. */
static int parse_options(int argc, char **argv, struct config_options *ret_options,
                         const char **sets)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *ret_options = (struct config_options){.sets = sets, .environment = environ};
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, ":hc:", options, NULL)) != -1) {
        if (option == 'c') {
            ret_options->path = optarg;
        } else if (option == 's') {
            if (ret_options->set_count == MAX_SETS)
                return cmd_fail("serve", "--set: at most %u of them", MAX_SETS);
            sets[ret_options->set_count++] = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 1;
        } else {
            return cmd_bad_option("serve", option, argv);
        }
    }
    if (optind < argc)
        return cmd_fail("serve", "takes no argument '%s'; a file is given by --config",
                        argv[optind]);
    return 0;
}

static unsigned usable_cpus(cpu_set_t *ret_set)
{
    if (sched_getaffinity(0, sizeof(*ret_set), ret_set) < 0)
        return 1;
    int count = CPU_COUNT(ret_set);
    return count < 1 ? 1 : (unsigned)count;
}

static int make_table(struct server *server)
{
    struct table_options options = {
        .entries = server->config->table_entries,
        .owner_rows = server->config->index_count,
        .time_base_ns = server->started_boot_ns,
        .huge_pages = true,
    };
    if (getrandom(options.index_secret, sizeof(options.index_secret), 0) < 0 ||
        getrandom(&options.boot_id, sizeof(options.boot_id), 0) < 0)
        return cmd_fail("serve", "no random numbers: %s", strerror(errno));
    if ((options.boot_id & 0xFFFF) == 0)
        options.boot_id |= 1; /* boot bits 0 mean: unknown */
    int result = table_create(&options, &server->table);
    if (result)
        return cmd_fail("serve", "table.entries: %llu entries need %.1f MiB of memory: %s",
                        (unsigned long long)options.entries, (double)options.entries / 32768,
                        strerror(-result));
    result = engine_bind_owners(server->table, server->config);
    if (result)
        return cmd_fail("serve", "table.entries: the tenants' regions do not fit: %s",
                        strerror(-result));
    return 0;
}

static int make_counters(struct server *server)
{
    size_t rules = (size_t)server->worker_count * server->config->index_count;
    server->workers = calloc(server->worker_count, sizeof(*server->workers));
    server->counters =
        aligned_alloc(_Alignof(struct counters), server->worker_count * sizeof(*server->counters));
    server->rule_counters = calloc(rules, sizeof(*server->rule_counters));
    if (!server->workers || !server->counters || !server->rule_counters)
        return cmd_fail("serve", "workers: no memory for %u of them", server->worker_count);
    memset(server->counters, 0, server->worker_count * sizeof(*server->counters));
    return 0;
}

/* The kernel lets go of the sockets of a killed daemon's rings only some time after it died: who is
 * restarted at once would find its own port busy, so a busy port is tried for a second. */
static int open_group(struct config_address *listen, const struct socket_options *options,
                      int *ret_sockets, unsigned count)
{
    int result;
    for (unsigned i = 0; i < BUSY_TRIES; i++) {
        result = socket_open_group(&listen->address, listen->len, options, ret_sockets, count);
        if (result != -EADDRINUSE)
            return result;
        nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
    }
    return result;
}

static int open_sockets(struct server *server)
{
    struct config *config = server->config;
    struct socket_options options = {.receive_buffer_bytes = RECEIVE_BUFFER_BYTES, .join = true};
    for (unsigned i = 0; i < config->listen_udp_count; i++) {
        struct config_address *listen = &config->listen_udp[i];
        int sockets[CONFIG_MAX_WORKERS];
        int result = open_group(listen, &options, sockets, server->worker_count);
        if (result == -EADDRINUSE)
            return cmd_fail("serve",
                            "listen.udp: %s is busy: another mete or another program holds it; "
                            "stop it or choose another port",
                            listen->text);
        if (result)
            return cmd_fail("serve", "listen.udp: cannot listen on %s: %s", listen->text,
                            strerror(-result));
        socket_format_address((struct sockaddr *)&listen->address, listen->text,
                              sizeof(listen->text));
        for (unsigned w = 0; w < server->worker_count; w++)
            server->workers[w].sockets[i] = sockets[w];
        server->socket_groups++;
    }
    return 0;
}

static int open_admin(struct server *server)
{
    const char *path = server->config->listen_admin;
    if (!path)
        return 0;
    if (server->config->listen_admin_is_default)
        mkdir("/run/mete", 0755); /* nobody else makes it for a daemon run by hand */
    int result = admin_open(path, serve_answer_admin, server, &server->admin);
    if (!result)
        return 0;
    if (server->config->listen_admin_is_default) {
        log_line("listen.admin: no socket at %s (%s), so `mete stats` has nobody to ask; "
                 "--set listen.admin=PATH puts it elsewhere",
                 path, strerror(-result));
        return 0;
    }
    const char *why = result == -EADDRINUSE ? "another daemon serves there; choose another path"
                      : result == -EEXIST   ? "is there and no socket; choose another path"
                                            : strerror(-result);
    return cmd_fail("serve", "listen.admin: %s: %s", path, why);
}

static int start_workers(struct server *server)
{
    cpu_set_t cpus;
    bool pins = usable_cpus(&cpus) == server->worker_count && server->worker_count > 1;
    int cpu = -1;
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct worker *worker = &server->workers[i];
        if (pins)
            do
                cpu++;
            while (!CPU_ISSET((size_t)cpu, &cpus));
        worker->index = i;
        worker->count = server->worker_count;
        worker->cpu = cpu;
        worker->config = server->config;
        worker->table = server->table;
        worker->socket_count = server->config->listen_udp_count;
        worker->counters = &server->counters[i];
        worker->rule_counters = &server->rule_counters[(size_t)i * server->config->index_count];
        worker->stop = &server->stop;
        int result = worker_start(worker);
        if (result)
            return cmd_fail("serve", "backend: %s cannot start: %s%s",
                            server->config->backend == BACKEND_MMSG ? "mmsg" : "io_uring",
                            strerror(-result),
                            server->config->backend == BACKEND_IO_URING
                                ? "; backend: auto would fall back to mmsg"
                                : "");
        server->running_count++;
    }
    return 0;
}

static void say_ready(const struct server *server)
{
    char addresses[CONFIG_MAX_LISTEN * 72];
    size_t len = 0;
    for (unsigned i = 0; i < server->config->listen_udp_count; i++)
        len += (size_t)snprintf(addresses + len, sizeof(addresses) - len, "%s%s", i ? "," : "",
                                server->config->listen_udp[i].text);
    const struct worker *worker = &server->workers[0];
    unsigned fallbacks = 0;
    int error = 0;
    for (unsigned i = 0; i < server->worker_count; i++) {
        fallbacks += server->workers[i].fallback_error != 0;
        error = error ? error : server->workers[i].fallback_error;
    }
    if (fallbacks == server->worker_count)
        log_line("backend: io_uring is not to be had here (%s), using mmsg", strerror(-error));
    else if (fallbacks)
        log_line("backend: io_uring is not to be had for %u of %u workers (%s), they use mmsg",
                 fallbacks, server->worker_count, strerror(-error));
    log_line("%s udp %s workers %u backend %s table %llu entries %.1f MiB%s", METE_VERSION,
             addresses, server->worker_count, worker->backend,
             (unsigned long long)table_entry_count(server->table),
             (double)table_size_bytes(server->table) / 1048576,
             table_has_huge_pages(server->table) ? " in huge pages" : "");
}

static int start(struct server *server)
{
    cpu_set_t cpus;
    server->started_boot_ns = clock_boot_ns();
    server->worker_count = server->config->workers ? server->config->workers : usable_cpus(&cpus);
    if (server->worker_count > CONFIG_MAX_WORKERS)
        server->worker_count = CONFIG_MAX_WORKERS;
    int result = make_counters(server);
    if (!result)
        result = open_sockets(server); /* before the table: a busy port is told at once */
    if (!result)
        result = make_table(server);
    if (!result)
        result = open_admin(server);
    if (!result)
        result = start_workers(server);
    return result;
}

static void stop(struct server *server)
{
    atomic_store(&server->stop, true);
    for (unsigned i = 0; i < server->running_count; i++)
        worker_join(&server->workers[i]);
    admin_close(server->admin);
    for (unsigned i = 0; i < server->socket_groups; i++)
        for (unsigned w = 0; w < server->worker_count; w++)
            socket_close_group(&server->workers[w].sockets[i], 1);
    table_destroy(server->table);
    free(server->rule_counters);
    free(server->counters);
    free(server->workers);
    config_destroy(server->config);
}

/* Blocked in every thread that is started later; the main thread reads them from the descriptor. */
static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* A habit of operators must not end the daemon: SIGHUP asks for a reload, which this version does
 * not have. */
static void serve_until_stopped(struct server *server, int stop_fd)
{
    struct signalfd_siginfo info = {.ssi_signo = SIGHUP};
    while (info.ssi_signo == SIGHUP) {
        admin_run(server->admin, stop_fd);
        if (read(stop_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
            return;
        if (info.ssi_signo == SIGHUP)
            log_line(
                "SIGHUP: this version does not reload; restart to read the configuration again");
    }
    log_line("stopping");
}

int cmd_serve(int argc, char **argv)
{
    const char *sets[MAX_SETS];
    struct config_options options;
    int result = parse_options(argc, argv, &options, sets);
    if (result)
        return result == 1 ? 0 : result;
    char error[512];
    struct server server = {.config = config_load(&options, error, sizeof(error))};
    if (!server.config)
        return cmd_fail("serve", "%s", error);
    int stop_fd = block_signals();
    result = stop_fd < 0 ? cmd_fail("serve", "no descriptor for signals: %s", strerror(errno))
                         : start(&server);
    if (!result) {
        if (server.config->secrets_are_unlocked)
            log_line("secrets: their memory cannot be locked and may reach the swap; "
                     "LimitMEMLOCK= or `ulimit -l` allows more");
        say_ready(&server);
        serve_until_stopped(&server, stop_fd);
    }
    stop(&server);
    if (stop_fd >= 0)
        close(stop_fd);
    return result;
}
