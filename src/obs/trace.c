#include "obs/trace.h"

#include <string.h>

void trace_init(struct trace_ring *ring, uint64_t every, uint64_t seed)
{
    memset(ring, 0, sizeof(*ring));
    ring->every = every;
    ring->random = seed;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

bool trace_parse(const char *text, size_t len, struct trace_context *ret_context)
{
    static const uint8_t none[16] = {0};
    uint8_t version, flags;
    struct trace_context context = {.is_there = true};
    if (len < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
        !read_hex(text, &version, 1) || !read_hex(text + 3, context.trace_id, 16) ||
        !read_hex(text + 36, context.parent_id, 8) || !read_hex(text + 53, &flags, 1))
        return false;
    if (version == 0xff || (version == 0 && len != 55) || (len > 55 && text[55] != '-') ||
        memcmp(context.trace_id, none, 16) == 0 || memcmp(context.parent_id, none, 8) == 0)
        return false;
    context.is_sampled = flags & 1;
    *ret_context = context;
    return true;
}

bool trace_wants(struct trace_ring *ring, const struct trace_context *context)
{
    if (!ring || context->is_there)
        return ring && context->is_sampled;
    if (ring->every == 0 || ++ring->count < ring->every)
        return false;
    ring->count = 0;
    return true;
}

/* splitmix64, Sebastiano Vigna: ids are to be distinct, not secret. */
static uint64_t next_random(struct trace_ring *ring)
{
    uint64_t x = ring->random += 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return (x ^ x >> 31) | 1; /* never all zeros */
}

struct trace_span *trace_begin(struct trace_ring *ring, const struct trace_context *context)
{
    const uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* pairs with the release in trace_take(): the place is read to its end */
    if (written - atomic_load_explicit(&ring->taken, memory_order_acquire) == TRACE_SPANS) {
        atomic_store_explicit(&ring->dropped,
                              atomic_load_explicit(&ring->dropped, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        return NULL;
    }
    struct trace_span *span = &ring->spans[written % TRACE_SPANS];
    const uint64_t ids[3] = {next_random(ring), next_random(ring), next_random(ring)};
    memset(span, 0, sizeof(*span));
    memcpy(span->span_id, ids, 8);
    memcpy(span->trace_id, ids + 1, 16);
    span->has_parent = context->is_there;
    if (context->is_there) {
        memcpy(span->trace_id, context->trace_id, 16);
        memcpy(span->parent_id, context->parent_id, 8);
    }
    return span;
}

void trace_end(struct trace_ring *ring)
{
    const uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* pairs with the acquire in trace_take(): the span is there before its number */
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
}

bool trace_take(struct trace_ring *ring, struct trace_span *ret_span)
{
    const uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    if (taken == atomic_load_explicit(&ring->written, memory_order_acquire))
        return false;
    *ret_span = ring->spans[taken % TRACE_SPANS];
    atomic_store_explicit(&ring->taken, taken + 1, memory_order_release);
    return true;
}

uint64_t trace_dropped(struct trace_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
