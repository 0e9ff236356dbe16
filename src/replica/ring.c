/* A ring of one writer and one reader: two positions that only grow, each written by one side and
 * looked at by the other only when what it remembers of it does not suffice (Lamport's queue, with
 * the cached indices of B-Queue and FastForward).
 *
 *   word 0   kind 3 | flags 2 | index, or owner, above
 *   word 1   first_ns
 *   long     then key (2 words), window, units */
#include "replica/ring.h"

#include "sys/wake.h"

#include "obs/assert.h"

#define KIND_BITS 3u
#define KIND_MASK ((1u << KIND_BITS) - 1)
#define FLAG_BITS 2u
#define REST_SHIFT (KIND_BITS + FLAG_BITS)
#define TOLD_PARTS 16u /* the writer hears of each such part of the ring that was taken, */
#define TOLD_CELLS 64u /* or of so many cells */

void ring_init(struct ring *ring, struct ring_cell *cells, uint64_t cell_count)
{
    ASSERT(cell_count >= RING_MIN_CELLS && (cell_count & (cell_count - 1)) == 0);
    *ring = (struct ring){.cells = cells, .mask = cell_count - 1};
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->refused_told, 0);
    atomic_init(&ring->head, 0);
}

static void see_head(struct ring *ring)
{
    /* acquire, with the release in ring_pop(): the reader is done with the cells before its head */
    ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
}

void ring_look(struct ring *ring)
{
    if (ring->next - ring->head_seen > ring->mask / 2)
        see_head(ring);
}

static bool has_cells(struct ring *ring, uint64_t count)
{
    if (ring->next + count - ring->head_seen <= ring->mask + 1)
        return true;
    see_head(ring);
    return ring->next + count - ring->head_seen <= ring->mask + 1;
}

bool ring_has_long_room(struct ring *ring, unsigned count)
{
    return has_cells(ring, (uint64_t)count * RING_LONG_CELLS);
}

static void put(struct ring *ring, uint64_t first, uint64_t second)
{
    ring->cells[ring->next & ring->mask] = (struct ring_cell){{first, second}};
    ring->next++;
}

bool ring_push_dirty(struct ring *ring, uint64_t index, uint64_t first_ns, unsigned flags)
{
    if (!ring_has_room(ring))
        ring_look(ring);
    if (!ring_has_room(ring)) {
        ring->refused++;
        return false;
    }
    put(ring, RING_DIRTY | (uint64_t)flags << KIND_BITS | index << REST_SHIFT, first_ns);
    return true;
}

void ring_refuse(struct ring *ring)
{
    ring->refused++;
}

static uint64_t reserved(const struct ring *ring)
{
    return (ring->mask + 1) / RING_RESERVED_PARTS;
}

bool ring_push(struct ring *ring, const struct ring_event *event)
{
    if (!has_cells(ring, RING_LONG_CELLS + (event->kind == RING_WANT ? reserved(ring) : 0)))
        return false;
    put(ring, (uint64_t)event->kind | (uint64_t)event->owner << REST_SHIFT, event->first_ns);
    put(ring, event->key.low, event->key.high);
    put(ring, event->window, (uint64_t)event->units);
    return true;
}

void ring_call(struct ring *ring)
{
    ring->calls = true;
}

void ring_publish(struct ring *ring)
{
    /* release, with the acquire in ring_pop(): the cells before the tail are whole. Not written
     * without need: the reader would miss its line for nothing. */
    if (atomic_load_explicit(&ring->tail, memory_order_relaxed) != ring->next)
        atomic_store_explicit(&ring->tail, ring->next, memory_order_release);
    if (atomic_load_explicit(&ring->refused_told, memory_order_relaxed) != ring->refused)
        atomic_store_explicit(&ring->refused_told, ring->refused, memory_order_relaxed);
    if (ring->calls && ring->wake) {
        ring->calls = false;
        wake_send(ring->wake);
    }
}

/* After cells were read. */
static void tell_head(struct ring *ring)
{
    const uint64_t part = (ring->mask + 1) / TOLD_PARTS;
    const uint64_t told = atomic_load_explicit(&ring->head, memory_order_relaxed); /* its own */

    if (ring->taken != ring->tail_seen &&
        ring->taken - told < (part < TOLD_CELLS ? part : TOLD_CELLS))
        return;
    atomic_store_explicit(&ring->head, ring->taken, memory_order_release);
}

bool ring_pop(struct ring *ring, struct ring_event *ret_event)
{
    uint64_t head = ring->taken;

    if (head == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head == ring->tail_seen)
            return false;
    }
    const struct ring_cell first = ring->cells[head++ & ring->mask];
    struct ring_event event = {
        .kind = (enum ring_kind)(first.word[0] & KIND_MASK),
        .first_ns = first.word[1],
    };

    if (event.kind == RING_DIRTY) {
        const unsigned flags = (unsigned)(first.word[0] >> KIND_BITS);

        event.is_new = flags & RING_NEW;
        event.is_much = flags & RING_MUCH;
        event.index = first.word[0] >> REST_SHIFT;
    } else {
        const struct ring_cell key = ring->cells[head++ & ring->mask];
        const struct ring_cell rest = ring->cells[head++ & ring->mask];

        event.owner = (uint32_t)(first.word[0] >> REST_SHIFT);
        event.key = (struct key){.low = key.word[0], .high = key.word[1]};
        event.window = rest.word[0];
        event.units = (int64_t)rest.word[1];
    }
    ring->taken = head;
    tell_head(ring);
    *ret_event = event;
    return true;
}

uint64_t ring_refused(const struct ring *ring)
{
    return atomic_load_explicit(&ring->refused_told, memory_order_relaxed);
}
