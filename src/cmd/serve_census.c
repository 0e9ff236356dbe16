#include "cmd/serve_census.h"

#include <errno.h>
#include <stdlib.h>

#include "cmd/server.h"
#include "sys/clock.h"

#define SMALL_TABLE (1u << 18) /* entries: counted whenever asked for, in a millisecond */
#define SHARE 100u             /* of a larger one: at most one part in so many of the time */

int census_init(struct census *census, const struct server *server)
{
    *census = (struct census){.rows = calloc(server->row_count, sizeof(*census->rows))};
    return census->rows ? 0 : -ENOMEM;
}

void census_deinit(struct census *census)
{
    free(census->rows);
    census->rows = NULL;
}

void census_update(struct census *census, const struct server *server)
{
    const uint64_t begun_ns = clock_boot_ns();
    if (begun_ns < census->next_ns)
        return;
    for (uint32_t row = 0; row < server->row_count; row++)
        census->rows[row] = 0;
    table_count_owners(server->table, census->rows);
    census->live = 0;
    for (uint32_t row = 0; row < server->row_count; row++)
        census->live += census->rows[row];
    const uint64_t took_ns = clock_boot_ns() - begun_ns;
    census->next_ns =
        table_entry_count(server->table) > SMALL_TABLE ? begun_ns + SHARE * took_ns : begun_ns;
}
