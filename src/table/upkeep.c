/* What a change of owners leaves to do, entry by entry, while others check: cut what owes more than
 * a full bucket of a limit that was lowered, free what belongs to nobody any more. See owners.h.
 *
 * Upkeep goes round the table in pieces; a row is done when one whole round has passed since it was
 * settled, so that any number of changes overlap and a table of any size stalls nothing. A claim of
 * a purged row is nobody's: whoever made it has passed a quiet point since. */
#include "core/gcra.h"
#include "table/doubts.h"
#include "table/mapping.h"
#include "table/owners_state.h"
#include "table/pair.h"

static uint32_t group_count_of(const struct table *table)
{
    return (uint32_t)(table->header->entry_count / TABLE_GROUP_ENTRIES);
}

void owners_settle(struct table *table, owners_row_fn *on_left, void *context)
{
    struct owners *owners = table->owners;
    const uint64_t until = owners->position + group_count_of(table);

    for (uint32_t row = 0; row < owners->row_count; row++) {
        uint8_t *state = &owners->states[row];

        if (*state != OWNER_CHANGED && *state != OWNER_LEFT)
            continue;
        if (*state == OWNER_LEFT && on_left)
            on_left(context, row, owners->successors[row]);
        *state = *state == OWNER_LEFT ? OWNER_PURGING : OWNER_CUTTING;
        owners->until[row] = until;
        if (owners->pending_count++ == 0)
            owners->next_until = until;
    }
}

static void purge(struct table_entry *entry, uint32_t row)
{
    for (;;) { /* again only if the mark of its group moved, or a sweep was faster */
        struct pair pair = pair_load(entry);

        if (meta_kind(pair.meta) == ENTRY_EMPTY || meta_owner(pair.meta) != row ||
            pair_cas(entry, pair, (struct pair){0, meta_empty(pair.meta)}))
            return;
    }
}

static void cut(const struct table *table, struct table_entry *entry, uint32_t row,
                owners_clock_fn *now_ns, void *context)
{
    const struct limit *limit = &table->rows[row].owner.limit;

    for (;;) { /* again only if somebody charged */
        struct pair pair = pair_load(entry);

        if (meta_kind(pair.meta) != ENTRY_LIVE || meta_owner(pair.meta) != row ||
            meta_is_grant(pair.meta))
            return;
        uint64_t state = gcra_cut(limit, pair.state, now_ns(context));
        bool is_kept = state || meta_pending(pair.meta);
        uint64_t meta = is_kept ? pair.meta : meta_empty(pair.meta);

        if (state == pair.state || pair_cas(entry, pair, (struct pair){state, meta}))
            return;
    }
}

/* Rows whose round is over. */
static void finish_rows(struct table *table)
{
    struct owners *owners = table->owners;

    owners->next_until = UINT64_MAX;
    for (uint32_t row = 0; row < owners->row_count; row++) {
        uint8_t *state = &owners->states[row];

        if (*state != OWNER_CUTTING && *state != OWNER_PURGING)
            continue;
        if (owners->until[row] > owners->position) {
            if (owners->until[row] < owners->next_until)
                owners->next_until = owners->until[row];
            continue;
        }
        if (*state == OWNER_CUTTING) /* no entry owes more any longer */
            mapping_set_most(&table->rows[row], &table->rows[row].owner.limit, false);
        owners->emptied_count += *state == OWNER_PURGING;
        *state = *state == OWNER_PURGING ? OWNER_EMPTIED : OWNER_USED;
        owners->pending_count--;
    }
}

bool owners_upkeep(struct table *table, uint32_t groups, owners_clock_fn *now_ns, void *context)
{
    struct owners *owners = table->owners;
    const uint32_t group_count = group_count_of(table);

    if (owners->pending_count == 0)
        return false;
    for (; groups && owners->position < owners->next_until; groups--) {
        uint64_t group = owners->position++ % group_count;
        struct table_entry *entries = table->entries + group * TABLE_GROUP_ENTRIES;

        table_trust_group(table, (uint32_t)group);
        for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++) {
            uint64_t meta = pair_meta(&entries[i]);
            uint32_t row = meta_owner(meta);

            if (meta_kind(meta) == ENTRY_EMPTY)
                continue;
            if (owners->states[row] == OWNER_PURGING)
                purge(&entries[i], row);
            else if (owners->states[row] == OWNER_CUTTING)
                cut(table, &entries[i], row, now_ns, context);
        }
    }
    if (owners->position >= owners->next_until)
        finish_rows(table);
    return true;
}

bool owners_has_emptied(const struct table *table)
{
    return table->owners->emptied_count != 0;
}

void owners_reclaim(struct table *table, owners_row_fn *on_free, void *context)
{
    struct owners *owners = table->owners;

    for (uint32_t row = 0; row < owners->row_count; row++) {
        if (owners->states[row] != OWNER_EMPTIED)
            continue;
        if (on_free)
            on_free(context, row, owners->successors[row]);
        owners->states[row] = OWNER_FREE;
        table->rows[row].use = ROW_FREE;
    }
    owners->emptied_count = 0;
}
