/* The thread that writes the table down. It is a reader of what is published, behind all others, so
 * that no row gets another owner while it has the row's number in hand; between two pieces of work
 * it holds nothing. If rows did get other owners meanwhile the copy begins again, for then one
 * number would stand for two owners in it.
 *
 * A tenth of a core: after each piece it sleeps nine times the CPU time that the piece took. At the
 * stop nobody else works, and it does not pause. */
#include "cmd/serve_snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_snapshot_parts.h"
#include "cmd/server.h"
#include "engine/policy.h"
#include "engine/shared.h"
#include "obs/log.h"
#include "sys/machine.h"
#include "sys/wake.h"

#define PAUSE_FACTOR 9u
#define PAUSE_LEAST_NS 200000u   /* shorter ones are saved up */
#define PAUSE_MOST_NS 50000000u  /* a stop is noticed within */
#define SLEEP_MOST_NS 100000000u /* where publication knows no readers that are away */
#define TRIES 5u                 /* of a copy that has to begin again */
#define LOWEST_PRIORITY 19
#define NS_PER_S 1000000000u

unsigned serve_count_snapshot(const struct config *config)
{
    return config->snapshot_path != NULL;
}

/* ---- hooks of the copy ---- */

static void read_clocks(void *context, uint64_t *ret_boot_ns, uint64_t *ret_wall_ns)
{
    (void)context;
    do
        *ret_boot_ns = clock_boot_ns();
    while (!clock_read_real(*ret_boot_ns, ret_wall_ns)); /* the thread was stopped in between */
}

static bool enter(void *context, struct instant *ret_now)
{
    struct serve_snapshot *snapshot = context;
    const struct server *server = snapshot->server;
    uint64_t boot_ns, real_ns;

    snapshot->policy = publish_enter(server->publish, snapshot->reader);
    if (atomic_load(&snapshot->renewals) != snapshot->renewals_seen) {
        publish_leave(server->publish, snapshot->reader);
        return false;
    }
    read_clocks(NULL, &boot_ns, &real_ns);
    const uint64_t now_ns = boot_ns - table_time_base_ns(server->table);
    wall_update(&snapshot->wall, boot_ns, shared_real_ns(serve_shared(server, 0), now_ns, real_ns));
    *ret_now = (struct instant){.now_ns = now_ns, .wall_ns = wall_at(&snapshot->wall, boot_ns)};
    return true;
}

static void leave(void *context)
{
    struct serve_snapshot *snapshot = context;

    publish_leave(snapshot->server->publish, snapshot->reader);
}

static bool pause_between(void *context)
{
    struct serve_snapshot *snapshot = context;

    if (!snapshot->is_paced)
        return true;
    const uint64_t busy_ns = clock_thread_ns() - snapshot->cpu_ns;
    snapshot->owed_ns += PAUSE_FACTOR * busy_ns;
    if (snapshot->owed_ns >= PAUSE_LEAST_NS) {
        const uint64_t pause_ns =
            snapshot->owed_ns < PAUSE_MOST_NS ? snapshot->owed_ns : PAUSE_MOST_NS;
        nanosleep(&(struct timespec){.tv_nsec = (long)pause_ns}, NULL);
        snapshot->owed_ns -= pause_ns;
    }
    snapshot->cpu_ns = clock_thread_ns();
    return !atomic_load(&snapshot->stop);
}

/* The override's own name, if there are not so many that looking for it would take long. */
static const struct rule *find_override(const struct rule *rule, uint32_t row)
{
    for (uint32_t i = 0; rule->overrides && i < rule->overrides->count && i < CONFIG_MAX_PREFIXES;
         i++)
        if (rule->overrides->items[i].rule.index == row)
            return &rule->overrides->items[i].rule;
    return rule;
}

static void find_names(void *context, uint32_t row, const struct table_owner *owner,
                       struct snapshot_owner *record)
{
    const struct serve_snapshot *snapshot = context;
    const struct tenant *tenant = config_find_tenant(snapshot->policy->config, owner->tenant_id);
    const struct rule *rule = tenant ? config_find_rule(tenant, owner->rule_id) : NULL;

    if (tenant)
        snprintf(record->tenant, sizeof(record->tenant), "%s", tenant->name);
    if (owner->rule_id == 0)
        snprintf(record->rule, sizeof(record->rule), "(inline)");
    else if (rule && rule->id == owner->rule_id)
        snprintf(record->rule, sizeof(record->rule), "%s",
                 (owner->override ? find_override(rule, row) : rule)->name);
}

/* ---- one snapshot ---- */

static int try_save(struct serve_snapshot *snapshot, struct snapshot_report *ret_report)
{
    const struct server *server = snapshot->server;
    const struct snapshot_hooks hooks = {
        .context = snapshot,
        .clock = read_clocks,
        .enter = enter,
        .leave = leave,
        .pause = pause_between,
        .name = find_names,
    };
    struct snapshot_header header = snapshot->header;

    if (getrandom(&header.id, sizeof(header.id), 0) != (ssize_t)sizeof(header.id))
        return -EIO;
    int result = replace_begin(&snapshot->file);
    if (!result)
        result = snapshot_save(server->table, &header, &hooks, &snapshot->file, ret_report);
    if (!result)
        result = replace_commit(&snapshot->file, snapshot->keeps_old);
    if (result)
        replace_abort(&snapshot->file);
    return result;
}

static void save(struct serve_snapshot *snapshot, bool is_paced)
{
    struct snapshot_report report = {0};
    const uint64_t begin_ns = clock_boot_ns();
    int result = -EAGAIN;

    pthread_mutex_lock(&snapshot->lock);
    const bool was_wanted = snapshot->wanted;
    snapshot->wanted = false;
    snapshot->state.begun++;
    pthread_mutex_unlock(&snapshot->lock);
    snapshot->is_paced = is_paced;
    for (unsigned i = 0; i < TRIES && result == -EAGAIN; i++) {
        snapshot->renewals_seen = atomic_load(&snapshot->renewals);
        snapshot->cpu_ns = clock_thread_ns();
        result = try_save(snapshot, &report);
    }
    pthread_mutex_lock(&snapshot->lock);
    struct snapshot_state *state = &snapshot->state;
    state->finished = state->begun;
    state->result = result;
    state->failed_count += result && result != -ECANCELED;
    if (!result) {
        state->saved_count++;
        state->good_boot_ns = begin_ns;
        state->good_age_ns = 0;
        state->duration_ns = clock_boot_ns() - begin_ns;
        state->report = report;
        snapshot->keeps_old = false;
    }
    const struct snapshot_state seen = *state;
    pthread_mutex_unlock(&snapshot->lock);
    serve_say_saved(snapshot, &seen, was_wanted);
}

/* ---- the thread ---- */

static bool is_wanted(struct serve_snapshot *snapshot)
{
    pthread_mutex_lock(&snapshot->lock);
    const bool wanted = snapshot->wanted;
    pthread_mutex_unlock(&snapshot->lock);
    return wanted;
}

/* A quiet point of its own, for a writer that cannot see who is away. */
static void pass_by(struct serve_snapshot *snapshot)
{
    publish_enter(snapshot->server->publish, snapshot->reader);
    publish_leave(snapshot->server->publish, snapshot->reader);
}

static void sleep_until(struct serve_snapshot *snapshot, uint64_t due_ns)
{
    const uint64_t now_ns = clock_boot_ns();
    uint64_t wait_ns = due_ns > now_ns ? due_ns - now_ns : 0;

    if (!snapshot->server->publish->has_barrier && wait_ns > SLEEP_MOST_NS)
        wait_ns = SLEEP_MOST_NS;
    wake_wait(snapshot->wake, -1, wait_ns);
    pass_by(snapshot);
}

static void *thread_main(void *argument)
{
    struct serve_snapshot *snapshot = argument;
    uint64_t due_ns = clock_boot_ns() + snapshot->every_ns;

    pthread_setname_np(pthread_self(), "mete-snapshot");
    setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST_PRIORITY); /* refused: it pauses as well */
    pthread_mutex_lock(&snapshot->lock);
    snapshot->ready = true;
    pthread_cond_signal(&snapshot->is_ready);
    pthread_mutex_unlock(&snapshot->lock);
    while (!atomic_load(&snapshot->stop)) {
        if (clock_boot_ns() >= due_ns || is_wanted(snapshot)) {
            due_ns = clock_boot_ns() + snapshot->every_ns;
            save(snapshot, true);
        } else {
            sleep_until(snapshot, due_ns);
        }
    }
    if (!snapshot->server->is_handed_over) /* else the file is another's */
        save(snapshot, false);
    publish_quit(snapshot->server->publish, snapshot->reader);
    return NULL;
}

/* ---- the main thread ---- */

int serve_open_snapshot(struct server *server)
{
    const struct config *config = server->config;
    if (!config->snapshot_path)
        return 0;
    struct serve_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return cmd_fail("serve", "table.snapshot: no memory");
    server->snapshot = snapshot;
    snapshot->server = server;
    snapshot->every_ns = config->snapshot_every_ns;
    snapshot->reader = server->thread_count; /* behind all that judge */
    snapshot->wake = wake_open();
    pthread_mutex_init(&snapshot->lock, NULL);
    pthread_cond_init(&snapshot->is_ready, NULL);
    struct snapshot_header *header = &snapshot->header;
    header->key_fingerprint = config->key_fingerprint;
    machine_boot_id(header->machine_boot_id);
    snprintf(header->namespace_name, sizeof(header->namespace_name), "%s", config->namespace_name);
    snprintf(header->program, sizeof(header->program), "%s", METE_VERSION);
    const int result = replace_open(&snapshot->file, config->snapshot_path);
    if (result == -EISDIR)
        return cmd_fail("serve",
                        "table.snapshot: %s is a folder; the path of a file in it is needed",
                        config->snapshot_path);
    if (result)
        return cmd_fail("serve", "table.snapshot: the folder of %s cannot be opened: %s",
                        config->snapshot_path, strerror(-result));
    if (snapshot->wake < 0)
        return cmd_fail("serve", "table.snapshot: no descriptor: %s", strerror(-snapshot->wake));
    return 0;
}

static const char *open_problem(int result)
{
    if (result == -EPERM)
        return "could have been written by others than the daemon's user and root";
    return result == -EINVAL ? "is no regular file" : strerror(-result);
}

/* Why the file is not for this daemon, or NULL. */
static const char *find_problem(const struct serve_snapshot *snapshot,
                                const struct snapshot_source *source,
                                struct snapshot_reader *ret_reader)
{
    const struct snapshot_header *ours = &snapshot->header;
    const enum snapshot_fault fault = snapshot_read_begin(source, ret_reader);

    if (fault != SNAPSHOT_FINE)
        return snapshot_fault_text(fault);
    if (strcmp(ret_reader->header.namespace_name, ours->namespace_name) != 0)
        return "is of another namespace";
    if (ret_reader->header.key_fingerprint != ours->key_fingerprint)
        return "was written under another key_file, so that no subject would find its bucket";
    return NULL;
}

static void load(struct serve_snapshot *snapshot, struct snapshot_reader *reader)
{
    struct snapshot_loaded loaded;
    struct snapshot_now now;

    read_clocks(NULL, &now.boot_ns, &now.wall_ns);
    memcpy(now.machine_boot_id, snapshot->header.machine_boot_id, sizeof(now.machine_boot_id));
    if (snapshot_load(snapshot->server->table, reader, &now, &loaded)) {
        serve_say_cold(snapshot, "there is no memory to read it");
        return;
    }
    snapshot->state.good_boot_ns = now.boot_ns;
    snapshot->state.good_age_ns = loaded.elapsed_ns;
    serve_say_loaded(snapshot, &loaded, clock_boot_ns() - now.boot_ns);
}

void serve_load_snapshot(struct server *server)
{
    struct serve_snapshot *snapshot = server->snapshot;
    struct snapshot_source source;
    struct snapshot_reader reader;

    struct table_resumed found;

    if (!snapshot)
        return;
    table_look_resumed(server->table, &found);
    if (found.is_resumed)
        return; /* table.file knows it all to the last unit */
    const int result = snapshot_open(snapshot->file.path, false, &source);
    if (result == -ENOENT)
        return; /* the first start */
    const char *problem = result ? open_problem(result) : find_problem(snapshot, &source, &reader);
    snapshot->keeps_old = problem != NULL;
    if (problem)
        serve_say_cold(snapshot, problem);
    else
        load(snapshot, &reader);
    if (!result)
        snapshot_close(&source);
}

int serve_start_snapshot(struct server *server)
{
    struct serve_snapshot *snapshot = server->snapshot;
    uint64_t boot_ns, real_ns;

    if (!snapshot)
        return 0;
    read_clocks(NULL, &boot_ns, &real_ns);
    wall_init(&snapshot->wall, boot_ns, real_ns);
    const int result = pthread_create(&snapshot->thread, NULL, thread_main, snapshot);
    if (result)
        return cmd_fail("serve", "table.snapshot: no thread: %s", strerror(result));
    snapshot->is_running = true;
    pthread_mutex_lock(&snapshot->lock);
    while (!snapshot->ready) /* it has said how it wants to run, which it may not later */
        pthread_cond_wait(&snapshot->is_ready, &snapshot->lock);
    pthread_mutex_unlock(&snapshot->lock);
    return 0;
}

void serve_stop_snapshot(struct server *server)
{
    struct serve_snapshot *snapshot = server->snapshot;

    if (!snapshot)
        return;
    if (snapshot->is_running) {
        atomic_store(&snapshot->stop, true);
        wake_send(snapshot->wake);
        pthread_join(snapshot->thread, NULL);
    }
    if (snapshot->wake >= 0)
        close(snapshot->wake);
    replace_close(&snapshot->file);
    pthread_cond_destroy(&snapshot->is_ready);
    pthread_mutex_destroy(&snapshot->lock);
    free(snapshot);
    server->snapshot = NULL;
}

void serve_renew_snapshot(struct server *server)
{
    if (server->snapshot)
        atomic_fetch_add(&server->snapshot->renewals, 1);
}

struct snapshot_state serve_look_at_snapshot(struct serve_snapshot *snapshot)
{
    pthread_mutex_lock(&snapshot->lock);
    const struct snapshot_state state = snapshot->state;
    pthread_mutex_unlock(&snapshot->lock);
    return state;
}

/* One that is under way began before it was asked for: the next one is meant. */
static void begin(struct serve_snapshot *snapshot, const char *asker, FILE *out)
{
    pthread_mutex_lock(&snapshot->lock);
    const uint64_t ticket = snapshot->state.begun + 1;
    snapshot->wanted = true;
    pthread_mutex_unlock(&snapshot->lock);
    wake_send(snapshot->wake);
    log_event(LOG_INFO, "snapshot", "snapshot asked for by %s", asker);
    fprintf(out, "ticket %" PRIu64 "\n", ticket);
}

static void tell(struct serve_snapshot *snapshot, uint64_t ticket, FILE *out)
{
    const struct snapshot_state state = serve_look_at_snapshot(snapshot);
    char text[1024];

    if (state.finished < ticket) {
        fprintf(out, "running\n");
        return;
    }
    serve_format_saved(snapshot, &state, text, sizeof(text));
    fprintf(out, "%s%s\n", state.result ? "error: " : "done: ", text);
}

void serve_answer_snapshot(struct server *server, const char *asker, const char *command, FILE *out)
{
    uint64_t ticket;

    if (!server->snapshot)
        fprintf(out, "error: table.snapshot is not set, so there is nowhere to write it\n");
    else if (strcmp(command, "save") == 0)
        begin(server->snapshot, asker, out);
    else if (sscanf(command, "status %" SCNu64, &ticket) == 1)
        tell(server->snapshot, ticket, out);
    else
        fprintf(out, "error: unknown command 'snapshot %s'; known: save, status\n", command);
}
