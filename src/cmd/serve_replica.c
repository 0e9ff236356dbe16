/* One thread joins the replicator, which knows no sockets, to the link, which knows no keys. It is
 * a reader of what is published, behind all threads that decide: an owner's row is not given to
 * another owner while this thread may have its number in hand. */
#include "cmd/serve_replica.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve_replica_parts.h"
#include "engine/policy.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "sys/memory.h"
#include "sys/wake.h"

#define DEMAND_CELLS 4096u
#define LOOK_NS 100000000u
#define WAIT_MAX_NS 100000000u /* the link has timers that wait for nothing */
#define FINISH_NS 1000000000u  /* for the last flush */
#define LEAVE_NS 100000000u
#define FIRST_LOOK_NS 2000000l /* so often the start looks whether the store has answered */
#define FIRST_LOOKS 125u
#define PASSWORD_SIZE 512u
#define NODE_ID_MASK ((1ull << 53) - 1)

unsigned serve_count_replica(const struct config *config)
{
    return config->redis.url != NULL;
}

static uint64_t random_id(void)
{
    uint64_t id = 0;
    while (id == 0)
        if (getrandom(&id, sizeof(id), 0) == (ssize_t)sizeof(id))
            id &= NODE_ID_MASK;
    return id;
}

static uint64_t power_of_two(uint64_t least)
{
    uint64_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

/* Rings and arrays of demand, of all threads in one piece. */
static int make_rings(struct serve_replica *replica, uint64_t cells)
{
    const size_t ring_size = cells * sizeof(struct ring_cell);
    const size_t demand_size = DEMAND_CELLS * sizeof(uint64_t);
    const uint32_t count = replica->thread_count;

    replica->rings = aligned_alloc(128, count * sizeof(*replica->rings));
    replica->demands = calloc(count, sizeof(*replica->demands));
    replica->shareds = calloc(count, sizeof(*replica->shareds));
    replica->ring_list = calloc(count, sizeof(struct ring *));
    replica->demand_list = calloc(count, sizeof(struct demand *));
    if (!replica->rings || !replica->demands || !replica->shareds || !replica->ring_list ||
        !replica->demand_list)
        return -ENOMEM;
    memset(replica->rings, 0, count * sizeof(*replica->rings));
    int result = memory_reserve(count * (ring_size + demand_size), false, &replica->memory);
    if (result)
        return result;
    replica->memory_size = count * (ring_size + demand_size);
    char *at = replica->memory;
    for (uint32_t i = 0; i < count; i++) {
        ring_init(&replica->rings[i], (struct ring_cell *)(void *)at, cells);
        replica->rings[i].wake = replica->wake;
        demand_init(&replica->demands[i], (_Atomic uint64_t *)(void *)(at + ring_size),
                    DEMAND_CELLS);
        at += ring_size + demand_size;
        replica->ring_list[i] = &replica->rings[i];
        replica->demand_list[i] = &replica->demands[i];
        replica->shareds[i] = (struct engine_shared){
            .ring = &replica->rings[i], .demand = &replica->demands[i], .state = &replica->shared};
    }
    return 0;
}

/* The file's bytes without the newline at their end. */
static int read_password(const char *path, char password[PASSWORD_SIZE])
{
    char problem[256];
    size_t len = 0;
    if (config_read_file(path, (uint8_t *)password, PASSWORD_SIZE - 1, &len, problem,
                         sizeof(problem)))
        return cmd_fail("serve", "redis.password_file: %s %s", path, problem);
    if (len > 0 && password[len - 1] == '\n')
        len--;
    password[len] = '\0';
    if (len == 0 || len == PASSWORD_SIZE - 1 || strlen(password) != len)
        return cmd_fail("serve",
                        "redis.password_file: %s holds no password: 1 to %u bytes, none of "
                        "them zero",
                        path, PASSWORD_SIZE - 2);
    return 0;
}

static int open_link(struct serve_replica *replica, const struct config *config)
{
    char password[PASSWORD_SIZE] = "", error[256] = "";
    struct link_options options = {
        .url = config->redis.url,
        .namespace_name = config->namespace_name,
        .user = config->redis.user,
        .tls = {.ca = config->redis.ca_file},
        .node_id = replica->node_id,
        .token = replica->is_new ? 1 : replica->names->token,
        .partitions = (uint32_t)config->redis.partitions,
    };
    int result = 0;
    if (config->redis.password_file) {
        result = read_password(config->redis.password_file, password);
        options.password = password;
    }
    if (!result) {
        result = link_open(&options, &replica->link, error, sizeof(error));
        if (result)
            result = cmd_fail("serve", "redis: %s", *error ? error : strerror(-result));
    }
    explicit_bzero(password, sizeof(password));
    return result;
}

uint64_t serve_replica_bytes(const struct config *config)
{
    if (!config->redis.url)
        return 0;
    return NAMES_SIZE +
           replicator_memory_size((uint32_t)config->redis.partitions, (uint32_t)config->redis.rows);
}

/* In the table's mapping: who the life before was to the store, so that it is the same node that
 * goes on with the same batches. */
static void take_names(struct serve_replica *replica, const struct config *config)
{
    struct table_resumed found;

    struct replica_names *names = table_section(replica->server->table, TABLE_SECTION_REPLICA);
    replica->names = names;
    if (replica->is_new)
        return;
    table_look_resumed(replica->server->table, &found);
    const bool is_same = config->redis.node_id == 0 || config->redis.node_id == names->node_id;
    replica->resumes = found.is_resumed && names->is_made && is_same &&
                       names->partitions == config->redis.partitions;
    if (!replica->resumes) {
        if (found.is_resumed)
            memset(names, 0, serve_replica_bytes(config));
        names->node_id = config->redis.node_id ? config->redis.node_id : random_id();
        names->incarnation = random_id();
        names->token = random_id();
        names->partitions = config->redis.partitions;
    }
    replica->node_id = names->node_id;
}

static int make_replicator(struct serve_replica *replica, const struct config *config)
{
    const struct replicator_options options = {
        .table = replica->server->table,
        .rings = replica->ring_list,
        .demands = replica->demand_list,
        .thread_count = replica->thread_count,
        .shared = &replica->shared,
        .node_id = replica->node_id,
        .incarnation = replica->is_new ? 0 : replica->names->incarnation,
        .partitions = (uint32_t)config->redis.partitions,
        .rows = (uint32_t)config->redis.rows,
        .nodes = (uint32_t)config->redis.nodes,
        .flush_ns = config->redis.flush_ns,
        .now_ns = serve_replica_now_ns(replica),
        .wall_ns = clock_real_ns(),
        .memory = (char *)replica->names + NAMES_SIZE,
        .resumes = replica->resumes || replica->is_new,
        .waits = replica->is_new,
    };
    return replicator_create(&options, &replica->replicator);
}

int serve_open_replica(struct server *server)
{
    const struct config *config = server->config;
    if (!config->redis.url)
        return 0;
    struct serve_replica *replica = aligned_alloc(128, (sizeof(*replica) + 127) / 128 * 128);
    if (!replica)
        return cmd_fail("serve", "redis: no memory");
    memset(replica, 0, sizeof(*replica));
    server->replica = replica;
    shared_state_init(&replica->shared);
    pthread_mutex_init(&replica->lock, NULL);
    sem_init(&replica->at_rest, 0, 0);
    sem_init(&replica->go, 0, 0);
    replica->server = server;
    replica->is_new = server->handover.fd >= 0;
    replica->reader = server->thread_count - 1;
    replica->thread_count = server->thread_count - 1;
    replica->flush_ns = config->redis.flush_ns;
    take_names(replica, config);
    replica->wake = wake_open();
    if (replica->wake < 0)
        return cmd_fail("serve", "redis: no descriptor: %s", strerror(-replica->wake));
    const uint64_t cells = power_of_two(config->redis.ring);
    int result = make_rings(replica, cells);
    if (result)
        return cmd_fail("serve", "redis.ring: no memory for %llu events of %u threads",
                        (unsigned long long)cells, replica->thread_count);
    result = make_replicator(replica, config);
    if (result)
        return cmd_fail("serve", "redis.rows: no memory for %llu of them",
                        (unsigned long long)config->redis.rows);
    if (!replica->is_new)
        replica->names->is_made = 1; /* partitions and rows have their form */
    return open_link(replica, config);
}

struct engine_shared *serve_shared(const struct server *server, unsigned thread)
{
    return server->replica ? &server->replica->shareds[thread] : NULL;
}

/* What is due goes out. A way that is down takes nothing: that batch is tried again soon. */
static void send_due(struct serve_replica *replica)
{
    const struct batch *batch;
    uint64_t now_ns = serve_replica_now_ns(replica);

    replicator_tick(replica->replicator, now_ns);
    while ((batch = replicator_next(replica->replicator, now_ns))) {
        const uint32_t partition = batch->partition;
        const int result = link_send(replica->link, batch);
        if (result && result != -EALREADY)
            replicator_refused(replica->replicator, partition, now_ns);
        now_ns = serve_replica_now_ns(replica);
    }
}

/* Another process has this node's id. */
static void take_new_id(struct serve_replica *replica)
{
    const uint64_t old_id = replica->node_id;
    replica->node_id = replica->names->node_id = random_id();
    link_set_node(replica->link, replica->node_id);
    replicator_set_node(replica->replicator, replica->node_id);
    log_line("redis: another process has node id %llu, so this one is %llu from now on; a file or "
             "configuration that was copied holds the same redis.node_id",
             (unsigned long long)old_id, (unsigned long long)replica->node_id);
}

static void take_event(struct serve_replica *replica, const struct link_event *event)
{
    const uint64_t now_ns = serve_replica_now_ns(replica);
    struct link_state state;

    switch (event->kind) {
    case LINK_EVENT_ANSWER:
        replicator_answer(replica->replicator, event->answer, now_ns);
        break;
    case LINK_EVENT_FAILED:
        replicator_failed(replica->replicator, event->partition, now_ns);
        break;
    case LINK_EVENT_STATE:
        link_look(replica->link, &state);
        log_line("redis: %s", state.text);
        break;
    case LINK_EVENT_TAKEN:
        take_new_id(replica);
        break;
    }
}

/* Waits for the link until something is due, then takes all that has come. */
static void take_events(struct serve_replica *replica, uint64_t most_ns)
{
    struct server *server = replica->server;
    const uint64_t now_ns = serve_replica_now_ns(replica);
    const uint64_t due_ns = replicator_due(replica->replicator, now_ns);
    const uint64_t wait_ns = due_ns - now_ns < most_ns ? due_ns - now_ns : most_ns;
    struct link_event event;

    wake_wait(replica->wake, link_descriptor(replica->link), wait_ns);
    while (link_poll(replica->link, 0, &event)) {
        publish_enter(server->publish, replica->reader);
        take_event(replica, &event);
        publish_leave(server->publish, replica->reader);
    }
}

static void turn(struct serve_replica *replica)
{
    struct server *server = replica->server;
    const struct policy *policy = publish_enter(server->publish, replica->reader);
    const uint64_t flush_ns = policy->config->redis.flush_ns;

    if (flush_ns != replica->flush_ns) {
        replica->flush_ns = flush_ns;
        replicator_set_flush(replica->replicator, flush_ns);
    }
    send_due(replica);
    publish_leave(server->publish, replica->reader);
    take_events(replica, WAIT_MAX_NS);
    const uint64_t now_ns = serve_replica_now_ns(replica);
    if (now_ns >= replica->look_at_ns) {
        serve_look_at_replica(replica, now_ns);
        replica->look_at_ns = now_ns + LOOK_NS;
    }
}

/* Nobody charges any more: tells all that is to be told, for at most so long. */
static void settle(struct serve_replica *replica, uint64_t most_ns)
{
    const uint64_t until_ns = serve_replica_now_ns(replica) + most_ns;

    replicator_finish(replica->replicator);
    do {
        send_due(replica);
        if (replicator_is_settled(replica->replicator))
            break;
        take_events(replica, most_ns / 100);
    } while (serve_replica_now_ns(replica) < until_ns);
}

static void finish(struct serve_replica *replica)
{
    struct replicator_state state;

    settle(replica, FINISH_NS);
    replicator_look(replica->replicator, serve_replica_now_ns(replica), &state);
    if (state.pending_keys > 0)
        log_line("redis: stopping while %u keys have charges that it was not told of",
                 state.pending_keys);
    link_leave(replica->link, LEAVE_NS);
}

static void *thread_main(void *argument)
{
    struct serve_replica *replica = argument;
    bool has_table = true;
    while (!atomic_load_explicit(&replica->stop, memory_order_relaxed)) {
        if (atomic_load_explicit(&replica->rest, memory_order_relaxed))
            has_table = serve_be_at_rest_replica(replica);
        else
            turn(replica);
    }
    publish_quit(replica->server->publish, replica->reader);
    if (has_table) /* else the node goes on, and nothing is to be told of its end */
        finish(replica);
    return NULL;
}

int serve_start_replica(struct server *server)
{
    struct serve_replica *replica = server->replica;
    if (!replica)
        return 0;
    atomic_init(&replica->rest, replica->is_new);
    int result = -link_start(replica->link);
    if (!result)
        result = pthread_create(&replica->thread, NULL, thread_main, replica);
    if (result)
        return cmd_fail("serve", "redis: no thread: %s", strerror(result));
    replica->is_running = true;
    if (replica->is_new) {
        serve_wait_at_rest_replica(replica);
        return 0;
    }
    for (unsigned i = 0; i < FIRST_LOOKS && !shared_state_has_wall(&replica->shared); i++)
        nanosleep(&(struct timespec){.tv_nsec = FIRST_LOOK_NS}, NULL);
    return 0;
}

void serve_stop_replica(struct server *server)
{
    struct serve_replica *replica = server->replica;
    if (!replica)
        return;
    if (replica->is_running) {
        atomic_store_explicit(&replica->stop, true, memory_order_relaxed);
        serve_replica_go_on(server);
        pthread_join(replica->thread, NULL);
    }
    if (replica->wake > 0)
        close(replica->wake);
    if (replica->link)
        link_close(replica->link);
    replicator_destroy(replica->replicator);
    if (replica->memory)
        memory_release(replica->memory, replica->memory_size);
    free(replica->rings);
    free(replica->demands);
    free(replica->shareds);
    free(replica->ring_list);
    free(replica->demand_list);
    sem_destroy(&replica->at_rest);
    sem_destroy(&replica->go);
    pthread_mutex_destroy(&replica->lock);
    free(replica);
    server->replica = NULL;
}
