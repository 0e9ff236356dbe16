/* The repeat set of `mete serve`. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/cmd.h"
#include "cmd/server.h"
#include "sys/clock.h"
#include "sys/memory.h"

/* What was already answered. Reserved whole, beside the table. */
int serve_make_repeats(struct server *server)
{
    const struct config *config = server->config;
    if (config->repeat_window_ns == 0)
        return 0;
    server->repeat_size = config->repeat_bytes * server->worker_count;
    int result = memory_reserve(server->repeat_size, true, &server->repeat_memory);
    if (result) {
        server->repeat_memory = NULL;
        return cmd_fail("serve", "repeats: %u workers need %.1f MiB of memory: %s",
                        server->worker_count, (double)server->repeat_size / 1048576,
                        strerror(-result));
    }
    struct repeat_options options = {
        .memory = server->repeat_memory,
        .size = server->repeat_size,
        .window_ms = (uint32_t)(config->repeat_window_ns / 1000000),
        .ahead_ms = (uint32_t)(config->repeat_ahead_ns / 1000000),
        .now_ms = (uint32_t)((clock_boot_ns() - server->started_boot_ns) / 1000000),
    };
    if (getrandom(options.secret, sizeof(options.secret), 0) < 0)
        return cmd_fail("serve", "no random numbers: %s", strerror(errno));
    result = repeat_init(&server->repeats, &options);
    if (result)
        return cmd_fail("serve", "repeats: window and ahead together are above %u ms",
                        REPEAT_MAX_SPAN_MS);
    return 0;
}
