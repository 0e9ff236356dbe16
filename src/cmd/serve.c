/* `mete serve`: the only file that knows all modules. Reads the configuration, builds what it says,
 * waits for a signal, tears down in reverse. */
#include "cmd/cmd.h"
#include "cmd/refusal.h"
#include "cmd/serve_doors.h"
#include "cmd/serve_reload.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_say.h"
#include "cmd/serve_snapshot.h"
#include "cmd/serve_sockets.h"
#include "cmd/serve_table.h"
#include "cmd/serve_xdp.h"
#include "cmd/server.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "obs/log.h"
#include "sys/sandbox.h"

#define MAX_SETS 64u
#define DEAD_PAUSE_MS 1000 /* between two looks at a worker that stands still */

extern char **environ;

static const char help[] =
    "usage: mete serve [--config FILE] [--set path=value ...]\n\n"
    "Runs the daemon in the foreground until SIGTERM or SIGINT. Without a file: tenant 'default' "
    "with\n"
    "the rules demo (token_bucket, 2/s, burst 10) and fast (token_bucket, 1000000/s), on "
    "127.0.0.1:6383.\n\n"
    "  --config FILE      YAML; `mete config check FILE` tries it first\n"
    "  --set path=value   one value over the file's, e.g. --set listen.udp=127.0.0.1:7000\n"
    "                     --set workers=2 --set table.entries=10000000 --set backend=mmsg\n"
    "  --take-over        take the place of the daemon that serves at listen.admin, with its "
    "sockets\n"
    "                     and table: an upgrade; if it fails, that one serves on\n\n"
    "METE_LISTEN_UDP=... in the environment is stronger than the file and weaker than --set.\n"
    "exit status: 0 stopped by a signal, 2 could not start (one line says why)\n";

/* 0: go on; 1: help was asked for and given; EXIT_USAGE. */
static int parse_options(int argc, char **argv, struct config_options *ret_options,
                         const char **sets, bool *ret_takes_over)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"take-over", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *ret_options = (struct config_options){.sets = sets, .environment = environ, .tls = &tls_hooks};
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, ":hc:", options, NULL)) != -1) {
        if (option == 'c') {
            ret_options->path = optarg;
        } else if (option == 's') {
            if (ret_options->set_count == MAX_SETS)
                return cmd_fail("serve", "--set: at most %u of them", MAX_SETS);
            sets[ret_options->set_count++] = optarg;
        } else if (option == 't') {
            *ret_takes_over = true;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 1;
        } else {
            return cmd_bad_option("serve", option, argv, options);
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

static void *zeroed(size_t align, size_t size)
{
    void *memory = aligned_alloc(align, (size + align - 1) / align * align);
    if (memory)
        memset(memory, 0, size);
    return memory;
}

/* What workers write goes by worker first, so that none shares a line with another. */
static int make_counters(struct server *server)
{
    const size_t align = _Alignof(struct counters);
    const size_t rows = server->row_count;
    const size_t cells = server->thread_count * rows;
    server->counters = zeroed(align, server->thread_count * sizeof(*server->counters));
    server->secret_counters = zeroed(align, cells * sizeof(*server->secret_counters));
    server->secret_carried = calloc(rows, sizeof(*server->secret_carried));
    server->quota_words = zeroed(align, rows * sizeof(*server->quota_words));
    server->quota_credits = zeroed(align, cells * sizeof(*server->quota_credits));
    if (!server->counters || !server->secret_counters || !server->secret_carried ||
        !server->quota_words || !server->quota_credits || observe_make(server))
        return cmd_fail("serve", "workers: no memory for %u of them", server->worker_count);
    return 0;
}

static int make_workers(struct server *server)
{
    server->workers = calloc(server->worker_count, sizeof(*server->workers));
    server->turns_seen = calloc(server->worker_count, sizeof(*server->turns_seen));
    if (!server->workers || !server->turns_seen)
        return cmd_fail("serve", "workers: no memory for %u of them", server->worker_count);
    return 0;
}

/* A worker per usable CPU stays on its own; fewer or more go where the scheduler likes. */
static void assign_cpus(struct server *server)
{
    cpu_set_t cpus;
    bool pins = usable_cpus(&cpus) == server->worker_count && server->worker_count > 1;
    int cpu = -1;
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (pins)
            do
                cpu++;
            while (!CPU_ISSET((size_t)cpu, &cpus));
        server->workers[i].cpu = cpu;
    }
}

static int make_policy(struct server *server)
{
    server->policy = serve_make_policy(server, server->config);
    if (!server->policy ||
        publish_create(server->thread_count + serve_count_snapshot(server->config), server->policy,
                       &server->publish))
        return cmd_fail("serve", "tenants: no memory for the keys of %u of them",
                        server->config->tenant_count);
    return 0;
}

static int open_admin(struct server *server)
{
    const char *path = server->config->listen_admin;
    if (!path)
        return 0;
    int taken = inherit_take(&server->inheritance, "admin", SOCK_STREAM, NULL, path);
    if (taken >= 0)
        return admin_adopt(taken, path, serve_answer_admin, server, &server->admin)
                   ? cmd_fail("serve", "listen.admin: no memory")
                   : 0;
    int result = 0;
    if (server->config->listen_admin_is_default && mkdir("/run/mete", 0755) && errno != EEXIST)
        result = -errno; /* nobody else makes it for a daemon run by hand */
    if (!result)
        result = admin_open(path, serve_answer_admin, server, &server->admin);
    if (!result)
        return 0;
    if (server->config->listen_admin_is_default) {
        log_event(LOG_WARNING, "start",
                  "listen.admin: no socket at %s (%s), so `mete stats` has nobody to ask; "
                  "--set listen.admin=PATH puts it elsewhere",
                  path, strerror(-result));
        return 0;
    }
    char text[REFUSAL_BYTES];
    const char *why = result == -EADDRINUSE ? "another daemon serves there; choose another path"
                      : result == -EEXIST   ? "is there and no socket; choose another path"
                                            : refusal_text(result, path, text, sizeof(text));
    return cmd_fail("serve", "listen.admin: %s: %s", path, why);
}

static void give_cells(const struct server *server, struct worker *worker)
{
    const size_t first = (size_t)worker->index * server->row_count;
    worker->rule_counters = &server->rule_counters[first];
    worker->sampler = &server->samplers[worker->index];
    worker->latency = &server->latencies[worker->index];
    worker->secret_counters = &server->secret_counters[first];
    worker->quota = (struct quota){
        .words = server->quota_words,
        .credits = &server->quota_credits[first],
        .worker_count = server->thread_count,
    };
}

static int start_workers(struct server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct worker *worker = &server->workers[i];
        worker->index = i;
        worker->count = server->worker_count;
        worker->publish = server->publish;
        worker->config = server->config;
        worker->table = server->table;
        worker->repeats = server->has_repeats ? &server->repeats : NULL;
        if (i == 0 && server->unix_socket >= 0)
            worker->sockets[worker->socket_count++] = server->unix_socket;
        worker->counters = &server->counters[i];
        give_cells(server, worker);
        worker->shared = serve_shared(server, i);
        worker->exact_wait_ns = server->config->redis.exact_wait_ns;
        worker->stop = &server->stop;
        worker->rest = &server->rest;
        worker->is_new = server->handover.fd >= 0;
        int result = worker_start(worker);
        if (result)
            return cmd_fail("serve", "backend: %s cannot start: %s%s",
                            server->config->backend == BACKEND_MMSG     ? "mmsg"
                            : server->config->backend == BACKEND_AF_XDP ? "af_xdp"
                                                                        : "io_uring",
                            strerror(-result),
                            server->config->backend == BACKEND_IO_URING
                                ? "; backend: auto would fall back to mmsg"
                                : "");
        server->running_count++;
    }
    return 0;
}

/* What needs privileges (a large receive buffer, low ports) is open; capabilities belong to
 * threads, and no other is there yet. */
static void drop_privileges(void)
{
    int result = sandbox_drop_privileges();
    if (result)
        log_event(LOG_WARNING, "sandbox",
                  "sandbox: privileges cannot be dropped: %s; going on with them",
                  strerror(-result));
}

static void filter_calls(void)
{
    int result = sandbox_filter_calls();
    if (result && result != -ENOSYS)
        log_event(LOG_WARNING, "sandbox",
                  "sandbox: system calls cannot be filtered: %s; going on without",
                  strerror(-result));
}

static int start(struct server *server, bool takes_over)
{
    cpu_set_t cpus;
    server->started_boot_ns = clock_boot_ns();
    server->worker_count = server->config->workers ? server->config->workers : usable_cpus(&cpus);
    if (server->worker_count > CONFIG_MAX_WORKERS)
        server->worker_count = CONFIG_MAX_WORKERS;
    server->thread_count = server->worker_count + serve_count_threads(server->config) +
                           serve_count_replica(server->config);
    int result = make_workers(server);
    if (!result) {
        assign_cpus(server);
        result = serve_inherit(server);
    }
    if (!result && takes_over)
        result = serve_ask_handover(server);
    if (!result) {
        atomic_store(&server->rest, server->handover.fd >= 0);
        result = serve_open_sockets(server); /* before the table: a busy port is told at once */
    }
    if (!result)
        result = serve_make_table(server);
    if (!result)
        result = make_counters(server);
    if (!result)
        result = takes_over ? 0 : serve_make_repeats(server);
    if (!result)
        result = make_policy(server);
    if (!result)
        result = serve_open_replica(server);
    if (!result)
        result = open_admin(server);
    if (!result)
        result = serve_open_doors(server);
    if (!result)
        result = serve_open_xdp(server);
    if (!result)
        result = serve_open_snapshot(server);
    if (!result) {
        drop_privileges();
        if (!takes_over) /* else it comes with the table */
            serve_load_snapshot(server);
        result = serve_start_replica(server);
    }
    if (!result)
        result = start_workers(server);
    if (!result)
        result = serve_start_doors(server);
    if (!result)
        result = serve_take_over(server);
    if (!result)
        result = serve_start_snapshot(server);
    if (!result)
        filter_calls();
    return result;
}

static void stop(struct server *server)
{
    atomic_store(&server->stop, true);
    if (atomic_load(&server->rest)) /* nobody tells them to go on */
        worker_go_on(server->workers, server->running_count);
    for (unsigned i = 0; i < server->running_count; i++)
        worker_join(&server->workers[i]);
    serve_close_doors(server);
    serve_stop_snapshot(server); /* before the replica, whose clock it reads */
    serve_stop_replica(server);
    watch_close(&server->watch);
    if (server->leaves_paths)
        admin_leave_path(server->admin);
    admin_close(server->admin);
    if (server->handover.fd >= 0)
        close(server->handover.fd);
    serve_close_xdp(server);
    serve_close_sockets(server);
    serve_drop_inherited(server);
    serve_close_table(server);
    publish_destroy(server->publish);
    free(server->quota_credits);
    free(server->quota_words);
    free(server->secret_carried);
    free(server->secret_counters);
    observe_free(server);
    free(server->counters);
    free(server->turns_seen);
    free(server->workers);
    if (server->policy)
        serve_free_policy(server->policy);
    else
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

/* False: it is time to stop. */
static bool take_signal(struct server *server, int signal_fd)
{
    struct signalfd_siginfo info;
    char asker[64];
    if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info) || info.ssi_signo != SIGHUP)
        return false;
    snprintf(asker, sizeof(asker), "SIGHUP of pid %u uid %u", info.ssi_pid, info.ssi_uid);
    serve_reload(server, asker, NULL);
    return true;
}

/* Has every worker gone round since the last sign of life? */
static bool workers_are_alive(const struct server *server)
{
    bool are_alive = true;
    for (unsigned i = 0; i < server->worker_count; i++) {
        uint64_t turns = atomic_load_explicit(&server->workers[i].turns, memory_order_relaxed);
        if (turns == server->turns_seen[i]) {
            log_event(LOG_WARNING, "watchdog",
                      "worker %u stands still: no sign of life for the service manager", i);
            are_alive = false;
        }
        server->turns_seen[i] = turns;
    }
    return are_alive;
}

/* Signs of life for who wants them. Returns how long the main thread may sleep, in ms; -1: for
 * ever. */
static int give_signs(struct server *server)
{
    struct notify *notify = &server->notify;
    uint64_t now_ns = clock_boot_ns();
    uint64_t wait_ns = notify_wait_ns(notify, now_ns);
    if (wait_ns == UINT64_MAX)
        return -1;
    if (wait_ns == 0 && workers_are_alive(server))
        notify_alive(notify, now_ns);
    wait_ns = notify_wait_ns(notify, now_ns);
    return wait_ns ? (int)(wait_ns / 1000000) + 1 : DEAD_PAUSE_MS;
}

static void serve_until_stopped(struct server *server, int signal_fd)
{
    for (;;) {
        const int fds[] = {signal_fd, server->watch.fd, server->handover.fd};
        const int sign_ms = give_signs(server);
        const int timeout_ms = serve_upkeep(server) ? SERVE_UPKEEP_PAUSE_MS : sign_ms;
        const int ready = admin_run(server->admin, fds, 3, timeout_ms);
        if (ready == 0 && !take_signal(server, signal_fd))
            break;
        if (ready == 1 && watch_has_changed(&server->watch))
            serve_reload(server, "watch", NULL);
        if (ready == 2 && serve_go_on_handover(server))
            return;
    }
    notify_say(&server->notify, "STOPPING=1\nSTATUS=stopping");
    log_event(LOG_INFO, "stop", "stopping");
    log_finish();
}

int cmd_serve(int argc, char **argv)
{
    const char *sets[MAX_SETS];
    struct config_options options;
    bool takes_over = false;
    int result = parse_options(argc, argv, &options, sets, &takes_over);
    if (result)
        return result == 1 ? 0 : result;
    char error[512];
    struct server server = {.options = &options,
                            .watch = {.fd = -1},
                            .unix_socket = -1,
                            .handover = {.fd = -1, .table_fd = -1},
                            .table_file = {.fd = -1},
                            .usage_lock = PTHREAD_MUTEX_INITIALIZER};
    notify_open(&server.notify);
    watch_look(&server.watch, options.path);
    server.config = config_load(&options, error, sizeof(error));
    if (!server.config)
        return cmd_fail("serve", "%s", error);
    serve_apply_config(&server);
    int signal_fd = block_signals();
    result = signal_fd < 0 ? cmd_fail("serve", "no descriptor for signals: %s", strerror(errno))
                           : start(&server, takes_over);
    if (!result) {
        serve_store_sockets(&server);
        serve_drop_inherited(&server);
        serve_say_ready(&server);
        server.notify.next_sign_ns = clock_boot_ns() + server.notify.watchdog_ns;
        notify_say(&server.notify, "READY=1\nSTATUS=serving, %u workers", server.worker_count);
        serve_until_stopped(&server, signal_fd);
    }
    stop(&server);
    notify_close(&server.notify);
    if (signal_fd >= 0)
        close(signal_fd);
    return result;
}
