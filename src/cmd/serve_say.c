#include "cmd/serve_say.h"

#include <stdio.h>
#include <string.h>

#include "cmd/serve_doors.h"
#include "cmd/serve_table.h"
#include "cmd/serve_xdp.h"
#include "cmd/server.h"
#include "obs/log.h"

void serve_say_ready(struct server *server)
{
    char addresses[CONFIG_MAX_LISTEN * 72];
    size_t len = 0;
    for (unsigned i = 0; i < server->config->listen_udp_count; i++)
        len += (size_t)snprintf(addresses + len, sizeof(addresses) - len, "%s%s", i ? "," : "",
                                server->config->listen_udp[i].text);
    unsigned fallbacks = 0;
    int error = 0;
    for (unsigned i = 0; i < server->worker_count; i++) {
        fallbacks += server->workers[i].fallback_error != 0;
        error = error ? error : server->workers[i].fallback_error;
    }
    if (fallbacks == server->worker_count)
        log_event(LOG_WARNING, "start", "backend: io_uring is not to be had here (%s), using mmsg",
                  strerror(-error));
    else if (fallbacks)
        log_event(LOG_WARNING, "start",
                  "backend: io_uring is not to be had for %u of %u workers (%s), they use mmsg",
                  fallbacks, server->worker_count, strerror(-error));
    if (server->config->secrets_are_unlocked)
        log_event(LOG_WARNING, "start",
                  "secrets: their memory cannot be locked and may reach the swap; "
                  "LimitMEMLOCK= or `ulimit -l` allows more");
    char doors[768], found[64], backend[128];
    serve_format_backend(server, backend, sizeof(backend));
    serve_format_start(server, found, sizeof(found));
    serve_format_doors(server->config, doors, sizeof(doors));
    log_event(LOG_INFO, "start",
              "%s udp %s%s workers %u backend %s table %llu entries %.1f MiB%s%s", METE_VERSION,
              addresses, doors, server->worker_count, backend,
              (unsigned long long)table_entry_count(server->table),
              (double)table_size_bytes(server->table) / 1048576,
              table_has_huge_pages(server->table) ? " in huge pages" : "", found);
}
