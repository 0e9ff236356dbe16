#include "net/worker.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "obs/log.h"

#define LOOK_INTERVAL_NS                                                                           \
    100000000u           /* how often the host's clock and the backend's counters are looked at */
#define STOP_BATCHES 64u /* most batches answered after the stop: what is queued, not a flood */
#define ERROR_PAUSE_NS 10000000l /* between receives when the kernel refuses them all */

static void publish_io_counters(struct worker *worker)
{
    struct io_counters io = worker->io->operations->counters(worker->io);
    _Atomic uint64_t *cell = worker->counters->cell;
    atomic_store_explicit(&cell[COUNTER_SEND_ERRORS], io.send_errors, memory_order_relaxed);
    atomic_store_explicit(&cell[COUNTER_RECEIVE_ERRORS], io.receive_errors, memory_order_relaxed);
}

/* The one clock read of a batch; now and then also a look at the host's. */
static struct instant read_clock(struct worker *worker)
{
    uint64_t boot_ns = clock_boot_ns();
    if (boot_ns >= worker->next_look_ns) {
        wall_update(&worker->wall, boot_ns, clock_real_ns());
        publish_io_counters(worker);
        worker->next_look_ns = boot_ns + LOOK_INTERVAL_NS;
    }
    return (struct instant){
        .now_ns = boot_ns - table_time_base_ns(worker->table),
        .wall_ns = wall_at(&worker->wall, boot_ns),
    };
}

/* One turn: what has arrived is judged at one instant and answered. Returns the number of messages,
 * or a negative errno. */
static int turn(struct worker *worker, uint64_t wait_ns)
{
    struct io_message *messages;
    uint64_t spin_ns = worker->config->spin_us * 1000;
    int count = io_receive_spinning(worker->io, spin_ns, wait_ns, &messages);
    struct instant now = read_clock(worker);
    if (count > 0) {
        udp_judge(&worker->udp, worker->io, messages, (uint32_t)count, &now);
        io_send(worker->io);
        counter_add(&worker->counters->cell[COUNTER_BATCHES], 1);
    }
    engine_tick(&worker->engine, &now);
    return count;
}

static void worker_run(struct worker *worker)
{
    uint64_t wait_ns = engine_tick_interval_ns(&worker->engine);
    bool has_complained = false;
    while (!atomic_load_explicit(worker->stop, memory_order_relaxed)) {
        int count = turn(worker, wait_ns);
        if (count < 0) {
            if (!has_complained)
                log_line("worker %u: receive failed with errno %d, going on", worker->index,
                         -count);
            has_complained = true;
            nanosleep(&(struct timespec){.tv_nsec = ERROR_PAUSE_NS}, NULL);
        }
    }
    for (unsigned i = 0; i < STOP_BATCHES && turn(worker, 0) > 0; i++)
        ;
    publish_io_counters(worker);
}

static int open_io(struct worker *worker)
{
    struct io_options options = {
        .sockets = worker->sockets,
        .socket_count = worker->socket_count,
        .buffers = WORKER_BUFFERS,
    };
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
    if (worker->cpu >= 0)
        pin(worker);
    worker->error = open_io(worker);
    if (worker->error) {
        sem_post(&worker->ready);
        return NULL;
    }
    worker->backend = worker->io->operations->name;
    uint64_t boot_ns = clock_boot_ns();
    wall_init(&worker->wall, boot_ns, clock_real_ns());
    worker->next_look_ns = boot_ns + LOOK_INTERVAL_NS;
    sem_post(&worker->ready);
    worker_run(worker);
    io_close(worker->io);
    return NULL;
}

int worker_start(struct worker *worker)
{
    engine_init(&worker->engine, worker->config, worker->table, worker->index, worker->count);
    worker->engine.counters = worker->counters;
    worker->engine.rule_counters = worker->rule_counters;
    udp_init(&worker->udp, worker->config, &worker->engine, worker->counters,
             table_boot_id(worker->table));
    sem_init(&worker->ready, 0, 0);
    int result = -pthread_create(&worker->thread, NULL, thread_main, worker);
    if (!result) {
        while (sem_wait(&worker->ready) < 0 && errno == EINTR)
            ;
        result = worker->error;
        if (result)
            pthread_join(worker->thread, NULL);
    }
    if (result)
        sem_destroy(&worker->ready);
    return result;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->ready);
}
