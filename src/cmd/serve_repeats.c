/* The repeat set of `mete serve`: a section of the table's mapping, so that a retry finds there
 * what the life before answered. The first bucket's place holds what the set is read by. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/cmd.h"
#include "cmd/server.h"
#include "sys/clock.h"

struct head { /* zeroed in a new mapping */
    uint64_t secret[2];
    uint32_t window_ms, ahead_ms;
    uint32_t is_made;
};
_Static_assert(sizeof(struct head) <= REPEAT_BUCKET_BYTES, "in the place of one bucket");

static enum repeat_start start_of(const struct server *server, const struct head *head,
                                  const struct repeat_options *options)
{
    struct table_resumed found;
    table_look_resumed(server->table, &found);
    const bool goes_on = server->handover.fd >= 0 || /* it was in use until now */
                         (found.is_resumed && found.silence_ns <= REPEAT_KEPT_NS);
    if (!goes_on || !head->is_made)
        return REPEAT_EMPTY;
    return head->window_ms == options->window_ms && head->ahead_ms == options->ahead_ms
               ? REPEAT_RESUME
               : REPEAT_FORGOTTEN;
}

int serve_make_repeats(struct server *server)
{
    const struct config *config = server->config;
    char *section = table_section(server->table, TABLE_SECTION_REPEATS);
    if (!section)
        return 0;
    struct head *head = (struct head *)(void *)section;
    struct repeat_options options = {
        .memory = section + REPEAT_BUCKET_BYTES,
        .size = table_section_size(server->table, TABLE_SECTION_REPEATS) - REPEAT_BUCKET_BYTES,
        .window_ms = (uint32_t)(config->repeat_window_ns / 1000000),
        .ahead_ms = (uint32_t)(config->repeat_ahead_ns / 1000000),
        .is_shared = server->worker_count > 1,
        .now_ms = (uint32_t)((clock_boot_ns() - table_time_base_ns(server->table)) / 1000000),
    };
    options.start = start_of(server, head, &options);
    if (options.start == REPEAT_EMPTY && getrandom(head->secret, sizeof(head->secret), 0) < 0)
        return cmd_fail("serve", "no random numbers: %s", strerror(errno));
    memcpy(options.secret, head->secret, sizeof(options.secret));
    int result = repeat_init(&server->repeats, &options);
    if (result)
        return cmd_fail("serve", "repeats: window and ahead together are above %u ms",
                        REPEAT_MAX_SPAN_MS);
    head->window_ms = options.window_ms;
    head->ahead_ms = options.ahead_ms;
    head->is_made = 1;
    server->has_repeats = true;
    return 0;
}
