#include "net/worker.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "engine/policy.h"
#include "net/worker_shed.h"
#include "obs/log.h"
#include "sys/memory.h"

#define LOOK_INTERVAL_NS                                                                           \
    100000000u           /* how often the host's clock and the backend's counters are looked at */
#define STOP_BATCHES 64u /* most batches answered after the stop: what is queued, not a flood */
#define TIMED_PER_LOOK 100u      /* batches in a tenth of a second whose latency is looked at */
#define ERROR_PAUSE_NS 10000000l /* between receives when the kernel refuses them all */
#define PARK_PAUSE_NS 200000l    /* between looks at what waits for a grant, on the way to rest */
#define REST_PAUSE_NS 200000l    /* between looks whether a worker has come to rest */

/* Returns what the backend says the kernel had no room for, ever. */
static uint64_t publish_io_counters(struct worker *worker)
{
    struct io_counters io = worker->io->operations->counters(worker->io);
    _Atomic uint64_t *cell = worker->counters->cell;
    atomic_store_explicit(&cell[COUNTER_SEND_ERRORS], io.send_errors, memory_order_relaxed);
    atomic_store_explicit(&cell[COUNTER_RECEIVE_ERRORS], io.receive_errors, memory_order_relaxed);
    atomic_store_explicit(&cell[COUNTER_CARRIED], io.carried, memory_order_relaxed);
    return io.receive_drops;
}

/* What the filter of a flood can drop, as far as it came through. */
static uint64_t sum_bad(const struct counters *counters)
{
    uint64_t sum = counter_read(&counters->cell[COUNTER_BAD_TAG]);
    for (unsigned c = COUNTER_BAD_LENGTH; c <= COUNTER_BAD_SIZES; c++)
        sum += counter_read(&counters->cell[c]);
    return sum;
}

static void set_filter(struct worker *worker, bool is_on)
{
    int error = worker_set_filter(worker);
    if (error)
        log_event(LOG_WARNING, "filter", "worker %u: filter: the kernel refuses it, errno %d",
                  worker->index, -error);
    else if (is_on)
        log_event(LOG_WARNING, "flood",
                  "worker %u: flood: the kernel now drops what is malformed or of another life",
                  worker->index);
    else
        log_event(LOG_INFO, "flood", "worker %u: flood is over: every datagram is looked at again",
                  worker->index);
}

static void look_for_flood(struct worker *worker, uint64_t boot_ns, uint64_t io_drops)
{
    _Atomic uint64_t *cell = worker->counters->cell;
    struct filter_look look = {.now_ns = boot_ns,
                               .bad = sum_bad(worker->counters),
                               .dropped = io_drops - worker->io_drops};
    worker->io_drops = io_drops;
    for (unsigned i = 0; i < worker->udp_socket_count; i++) {
        uint32_t drops = filter_look_at(worker->sockets[i]).dropped; /* wraps */
        look.dropped += drops - worker->kernel_drops[i];
        worker->kernel_drops[i] = drops;
    }
    counter_add(&cell[COUNTER_KERNEL_DROPS], look.dropped);
    look.dropped = counter_read(&cell[COUNTER_KERNEL_DROPS]);
    look.received = counter_read(&cell[COUNTER_RECEIVED]);
    bool was_on = worker->filter.is_on;
    /* past the sockets a filter on them would drop nothing of a flood, and say that it did */
    if (worker->udp.policy.config->filter == FILTER_AUTO && !worker->xdp &&
        filter_judge(&worker->filter, &look) != was_on)
        set_filter(worker, !was_on);
}

/* Upkeep of the repeat set, by the first worker: the whole of it in half of the time that it has.
 * After a long sleep no more than a share of it at once. */
static void sweep_repeats(struct worker *worker, uint32_t now_ms)
{
    struct repeat_set *repeats = worker->repeats;
    if (!repeats || worker->index)
        return;
    uint64_t due = repeats->bucket_count * (uint32_t)(now_ms - worker->repeat_swept_ms) /
                   (REPEAT_SWEEP_PASS_MS / 2);
    if (!due)
        return;
    worker->repeat_swept_ms = now_ms;
    repeat_sweep(repeats, &worker->repeat_cursor, (uint32_t)(due < 4096 ? due : 4096), now_ms);
}

/* After a quiet time nobody should wait for samples as rare as a busy one's. */
static void refresh_samples(struct worker *worker, uint64_t boot_ns)
{
    sampling_refresh(&worker->timed, boot_ns);
    if (worker->sampler)
        sampling_refresh(&worker->sampler->sampling, boot_ns - table_time_base_ns(worker->table));
}

/* Wall time is the store's where nodes share one, else the host's, read at boot_ns. */
static uint64_t wall_source(const struct worker *worker, uint64_t boot_ns, uint64_t host_ns)
{
    return shared_real_ns(worker->shared, boot_ns - table_time_base_ns(worker->table), host_ns);
}

/* The host's clock, now and then. The first worker counts for all when it was set. */
static void look_at_clock(struct worker *worker, uint64_t boot_ns)
{
    uint64_t host_ns;
    if (!clock_read_real(boot_ns, &host_ns))
        return;
    wall_update(&worker->wall, boot_ns, wall_source(worker, boot_ns, host_ns));
    if (worker->index == 0 && clock_has_stepped(&worker->steps, boot_ns, host_ns))
        counter_add(&worker->counters->cell[COUNTER_CLOCK_STEPS], 1);
}

/* The one clock read of a batch; now and then also a look at the host's. */
static struct instant read_clock(struct worker *worker)
{
    uint64_t boot_ns = worker->batch_boot_ns = clock_boot_ns();
    if (boot_ns >= worker->next_look_ns) {
        look_at_clock(worker, boot_ns);
        look_for_flood(worker, boot_ns, publish_io_counters(worker));
        if (worker->index == 0)
            table_note_alive(
                worker->table,
                &(struct instant){.now_ns = boot_ns - table_time_base_ns(worker->table),
                                  .wall_ns = wall_at(&worker->wall, boot_ns)});
        sweep_repeats(worker, (uint32_t)((boot_ns - table_time_base_ns(worker->table)) / 1000000));
        refresh_samples(worker, boot_ns);
        worker->next_look_ns = boot_ns + LOOK_INTERVAL_NS;
    }
    return (struct instant){
        .now_ns = boot_ns - table_time_base_ns(worker->table),
        .wall_ns = wall_at(&worker->wall, boot_ns),
    };
}

/* What this batch is judged by. Always set: a new policy may stand where an old one stood. */
static void take_policy(struct worker *worker)
{
    const struct policy *policy = publish_enter(worker->publish, worker->index);
    engine_use(&worker->engine, policy->config, policy->sweep_group_ns);
    udp_use(&worker->udp, policy->config, policy->keys);
}

/* How the next turn waits, by the policy in hand. */
static void set_waits(struct worker *worker)
{
    worker->spin_ns = worker->udp.policy.config->spin_us * 1000;
    worker->wait_ns = engine_tick_interval_ns(&worker->engine);
    if (!udp_park_is_empty(worker->park) && worker->wait_ns > UDP_PARK_LOOK_NS)
        worker->wait_ns = UDP_PARK_LOOK_NS;
}

/* One turn: what has arrived is judged at one instant and answered. Returns the number of messages,
 * or a negative errno. Between two turns, and asleep, the worker holds nothing of a policy. */
static int turn(struct worker *worker, bool is_last)
{
    struct io_message *messages;
    int count = io_receive_spinning(worker->io, worker->spin_ns, worker->wait_ns, &messages);
    take_policy(worker);
    struct instant now = read_clock(worker);
    const _Atomic uint64_t *checks = &worker->counters->cell[COUNTER_CHECKS];
    uint64_t before = counter_read(checks);
    bool has_parked = !udp_park_is_empty(worker->park);
    worker->udp.shed = NULL;
    if (shed_note(&worker->shed, worker->io->has_more, worker->batch_boot_ns)) {
        worker_look_at_load(worker, worker->batch_boot_ns);
        worker->udp.shed = &worker->shed;
    }
    if (has_parked) /* before those who came later */
        udp_park_retry(&worker->udp, worker->io, &now, is_last);
    if (count > 0)
        udp_judge(&worker->udp, worker->io, messages, (uint32_t)count, &now);
    if (count > 0 || has_parked)
        io_send(worker->io);
    if (count > 0)
        counter_add(&worker->counters->cell[COUNTER_BATCHES], 1);
    if (count > 0 && worker->latency && sampling_is_due(&worker->timed, 1))
        latency_take(worker->latency, &worker->timed, worker->batch_boot_ns,
                     counter_read(checks) - before);
    engine_tick(&worker->engine, &now);
    set_waits(worker);
    publish_leave(worker->publish, worker->index);
    atomic_store_explicit(&worker->turns,
                          atomic_load_explicit(&worker->turns, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    return count;
}

/* Judges and answers what the backend has in hand and what waits for a grant. */
static void finish_taken(struct worker *worker)
{
    for (;;) {
        worker->wait_ns = 0;
        if (turn(worker, false) > 0)
            continue;
        if (udp_park_is_empty(worker->park))
            return;
        nanosleep(&(struct timespec){.tv_nsec = PARK_PAUSE_NS}, NULL);
    }
}

static void start_clock(struct worker *worker)
{
    uint64_t boot_ns = clock_boot_ns();
    wall_resume(&worker->wall, boot_ns, wall_source(worker, boot_ns, clock_real_ns()),
                table_wall_floor_ns(worker->table, boot_ns));
    worker->next_look_ns = boot_ns + LOOK_INTERVAL_NS;
    sampling_init(&worker->timed, TIMED_PER_LOOK, boot_ns, boot_ns);
}

/* Until it is told to go on. False: it is to stop, and its sockets are another's now. */
static bool be_at_rest(struct worker *worker)
{
    worker->rest_error = io_pause(worker->io);
    if (!worker->rest_error && !worker->is_new)
        finish_taken(worker);
    worker->is_new = false;
    /* release, with worker_is_at_rest(): what was charged is seen by who copies the table */
    atomic_store_explicit(&worker->is_at_rest, true, memory_order_release);
    while (sem_wait(&worker->go) < 0 && errno == EINTR)
        ;
    if (atomic_load_explicit(worker->stop, memory_order_relaxed))
        return false;
    io_resume(worker->io);
    start_clock(worker); /* for a new one the table has come only now */
    return true;
}

static void worker_run(struct worker *worker)
{
    bool has_complained = false, has_sockets = true;
    while (!atomic_load_explicit(worker->stop, memory_order_relaxed)) {
        if (atomic_load_explicit(worker->rest, memory_order_relaxed)) {
            has_sockets = be_at_rest(worker);
            continue;
        }
        int count = turn(worker, false);
        if (count < 0) {
            if (!has_complained)
                log_event(LOG_ERROR, "receive", "worker %u: receive failed with errno %d, going on",
                          worker->index, -count);
            has_complained = true;
            nanosleep(&(struct timespec){.tv_nsec = ERROR_PAUSE_NS}, NULL);
        }
    }
    worker->wait_ns = 0;
    for (unsigned i = 0; has_sockets && i < STOP_BATCHES && turn(worker, true) > 0; i++)
        worker->wait_ns = 0;
    publish_quit(worker->publish, worker->index);
    publish_io_counters(worker);
}

static int open_io(struct worker *worker)
{
    struct io_options options = {
        .sockets = worker->sockets,
        .socket_count = worker->socket_count,
        .buffers = WORKER_BUFFERS,
        .is_paused = worker->is_new,
        .xdp = worker->xdp,
        .worker = worker->index,
        .worker_count = worker->count,
    };
    if (worker->xdp)
        return io_open(IO_BACKEND_AF_XDP, &options, &worker->io);
    if (worker->config->backend != BACKEND_MMSG) {
        int result = io_open(IO_BACKEND_IO_URING, &options, &worker->io);
        if (result == 0 || worker->config->backend == BACKEND_IO_URING)
            return result;
        worker->fallback_error = result;
    }
    return io_open(IO_BACKEND_MMSG, &options, &worker->io);
}

static void pin(const struct worker *worker)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)worker->cpu, &set);
    sched_setaffinity(0, sizeof(set), &set); /* a wish: without it the scheduler decides */
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    pthread_setname_np(pthread_self(), "mete-worker");
    if (worker->cpu >= 0)
        pin(worker);
    worker->error = open_io(worker);
    if (worker->error) {
        sem_post(&worker->ready);
        return NULL;
    }
    worker->backend = worker->io->operations->name;
    start_clock(worker);
    shed_init(&worker->shed, clock_boot_ns());
    worker->shed.options.budget_ns = worker->config->overload.shedding == SHEDDING_OFF
                                         ? UINT64_MAX /* never in doubt */
                                         : worker->config->overload.delay_budget_ns;
    set_waits(worker);
    sem_post(&worker->ready);
    worker_run(worker);
    io_close(worker->io);
    return NULL;
}

static int make_park(struct worker *worker)
{
    void *memory = NULL;
    int result = worker->shared ? memory_reserve(sizeof(struct udp_park), false, &memory) : 0;
    worker->park = result ? NULL : memory;
    if (worker->park)
        udp_park_init(worker->park, worker->exact_wait_ns);
    return result;
}

static void free_park(struct worker *worker)
{
    if (worker->park)
        memory_release(worker->park, sizeof(struct udp_park));
    worker->park = NULL;
}

int worker_start(struct worker *worker)
{
    int result = make_park(worker);
    if (result)
        return result;
    engine_init(&worker->engine, worker->config, worker->table, worker->index, worker->count);
    worker->engine.counters = worker->counters;
    worker->engine.rule_counters = worker->rule_counters;
    worker->engine.sampler = worker->sampler;
    engine_share(&worker->engine, worker->shared);
    struct udp_policy policy = {
        .config = worker->config,
        .secret_counters = worker->secret_counters,
    };
    struct udp_options udp = {
        .engine = &worker->engine,
        .counters = worker->counters,
        .repeats = worker->repeats,
        .quota = &worker->quota,
        .park = worker->park,
        .boot_id = table_boot_id(worker->table),
    };
    udp_init(&worker->udp, &policy, &udp);
    filter_init(&worker->filter, (uint16_t)udp.boot_id);
    sem_init(&worker->ready, 0, 0);
    sem_init(&worker->go, 0, 0);
    result = -pthread_create(&worker->thread, NULL, thread_main, worker);
    if (!result) {
        while (sem_wait(&worker->ready) < 0 && errno == EINTR)
            ;
        result = worker->error;
        if (result)
            pthread_join(worker->thread, NULL);
    }
    if (result) {
        sem_destroy(&worker->ready);
        sem_destroy(&worker->go);
        free_park(worker);
    }
    return result;
}

/* The signal does nothing but end a sleep; one that came just before it is made up for by the next.
 */
static void wait_at_rest(struct worker *worker)
{
    while (!atomic_load_explicit(&worker->is_at_rest, memory_order_acquire)) {
        pthread_kill(worker->thread, WORKER_SIGNAL);
        nanosleep(&(struct timespec){.tv_nsec = REST_PAUSE_NS}, NULL);
    }
}

int worker_rest(struct worker *workers, unsigned count)
{
    int result = 0;
    if (count)
        atomic_store_explicit(workers->rest, true, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        wait_at_rest(&workers[i]);
        result = result ? result : workers[i].rest_error;
    }
    return result;
}

void worker_go_on(struct worker *workers, unsigned count)
{
    if (count)
        atomic_store_explicit(workers->rest, false, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        atomic_store_explicit(&workers[i].is_at_rest, false, memory_order_relaxed);
        sem_post(&workers[i].go);
    }
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->ready);
    sem_destroy(&worker->go);
    free_park(worker);
}
