#include "net/worker_shed.h"

#include <inttypes.h>

#include "net/worker.h"
#include "obs/log.h"

int worker_set_filter(struct worker *worker)
{
    const uint16_t *boot = worker->filter.is_on ? &worker->filter.boot : NULL;
    int error = 0;
    for (unsigned i = 0; i < worker->udp_socket_count; i++) {
        int result = boot || worker->shed.gate.count
                         ? filter_attach(worker->sockets[i], boot, &worker->shed.gate)
                         : filter_detach(worker->sockets[i]);
        error = error ? error : result;
    }
    return error;
}

/* Of what the gate kept from each tenant only an estimate can be had. */
static void count_kept(struct worker *worker)
{
    for (unsigned i = 0; i < SHED_TENANTS; i++) {
        const struct shed_tenant *tenant = &worker->shed.tenants[i];
        uint64_t kept = tenant->id ? shed_count_kept(tenant) : 0;
        if (kept)
            counter_add(&worker->quota.credits[tenant->row].shed, kept);
    }
}

static struct shed_look look_at_queues(struct worker *worker, uint64_t boot_ns)
{
    struct shed_look look = {.now_ns = boot_ns};
    for (unsigned i = 0; i < worker->udp_socket_count; i++) {
        struct filter_queue queue = filter_look_at(worker->sockets[i]);
        look.has_lost |= queue.dropped != worker->drops_at_look[i];
        worker->drops_at_look[i] = queue.dropped;
        uint32_t percent = (uint32_t)(queue.used_bytes * 100ull / (queue.size_bytes + 1u));
        if (percent > look.fill_percent)
            look.fill_percent = percent;
    }
    return look;
}

static void say(struct worker *worker, uint64_t boot_ns)
{
    if (worker->shed.is_on) {
        worker->overload_since_ns = boot_ns;
        log_event(LOG_WARNING, "overload",
                  "worker %u: overload: more is asked than it can answer; each tenant now gets "
                  "its share, and the rest is dropped",
                  worker->index);
        return;
    }
    log_event(LOG_INFO, "overload", "worker %u: overload is over after %.1f s", worker->index,
              (double)(boot_ns - worker->overload_since_ns) / 1e9);
}

void worker_look_at_load(struct worker *worker, uint64_t boot_ns)
{
    struct shed *shed = &worker->shed;
    const struct config *config = worker->udp.policy.config;
    if (!shed_is_due(shed, boot_ns))
        return;
    shed->options = (struct shed_options){
        .budget_ns = config->overload.delay_budget_ns,
        .max_age_ns = config->overload.max_age_ns,
        .answers_per_second = config->overload.shed_answers,
    };
    bool was_on = shed->is_on;
    struct shed_look look = look_at_queues(worker, boot_ns);
    if (was_on)
        count_kept(worker);
    if (shed_take_look(shed, &look)) {
        int result = worker_set_filter(worker);
        if (result)
            log_event(LOG_WARNING, "gate", "worker %u: gate: the kernel refuses it, errno %d",
                      worker->index, -result);
        else
            shed_gate_is_set(shed, boot_ns);
    }
    if (shed->is_on != was_on)
        say(worker, boot_ns);
}
