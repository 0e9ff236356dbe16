/* A TZif file (RFC 8536): a header and a block of data with 32-bit times, and from version 2 on a
 * second header and block with 64-bit times and a footer, which is then all that counts.
 *
 *   block   times of changes | their types, a byte each | types: offset 4, is DST 1, name 1 | names
 *           | leap seconds | two lists of indicators
 *
 * The file is the system's, not a stranger's, but nothing in it is believed before it is checked.
 * Any thread may call anything here. */
#include "core/zone.h"

#include <stdbool.h>
#include <string.h>

#include "core/civil.h"
#include "core/zone_rule.h"

#define HEADER_BYTES 44u
#define TYPE_BYTES 6u

struct input {
    const uint8_t *at;
    size_t left;
};

struct header {
    uint8_t version;
    uint32_t isut_count, isstd_count, leap_count, time_count, type_count, char_count;
};

static const uint8_t *take(struct input *input, uint64_t len)
{
    const uint8_t *at = input->at;
    if (len > input->left)
        return NULL;
    input->at += len;
    input->left -= (size_t)len;
    return at;
}

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t read_time(const uint8_t *at, unsigned size)
{
    if (size == 4)
        return (int32_t)read_u32(at);
    return (int64_t)((uint64_t)read_u32(at) << 32 | read_u32(at + 4));
}

static enum zone_error take_header(struct input *input, struct header *ret_header)
{
    const uint8_t *at = take(input, HEADER_BYTES);
    if (!at)
        return ZONE_CUT_SHORT;
    if (memcmp(at, "TZif", 4) != 0)
        return ZONE_NOT_TZIF;
    *ret_header = (struct header){
        .version = at[4],
        .isut_count = read_u32(at + 20),
        .isstd_count = read_u32(at + 24),
        .leap_count = read_u32(at + 28),
        .time_count = read_u32(at + 32),
        .type_count = read_u32(at + 36),
        .char_count = read_u32(at + 40),
    };
    return ZONE_OK;
}

/* Of the block behind a header; no count can make it wrap. */
static uint64_t block_bytes(const struct header *header, unsigned time_size)
{
    return (uint64_t)header->time_count * (time_size + 1u) +
           (uint64_t)header->type_count * TYPE_BYTES + header->char_count +
           (uint64_t)header->leap_count * (time_size + 4u) + header->isstd_count +
           header->isut_count;
}

/* The offset of a type; false if there is no such type, or it is nonsense. */
static bool read_offset(const struct header *header, const uint8_t *types, uint32_t type,
                        int32_t *ret_offset_s)
{
    if (type >= header->type_count)
        return false;
    *ret_offset_s = (int32_t)read_u32(types + (size_t)type * TYPE_BYTES);
    return *ret_offset_s >= -ZONE_MAX_OFFSET_S && *ret_offset_s <= ZONE_MAX_OFFSET_S;
}

static enum zone_error take_block(struct input *input, const struct header *header,
                                  unsigned time_size, struct zone *zone)
{
    if (header->type_count == 0 || header->char_count == 0)
        return ZONE_BAD_COUNTS;
    if (header->leap_count)
        return ZONE_HAS_LEAP_SECONDS;
    if (header->time_count > ZONE_MAX_CHANGES - 1)
        return ZONE_TOO_LARGE;
    const uint8_t *times = take(input, block_bytes(header, time_size));
    if (!times)
        return ZONE_CUT_SHORT;
    const uint8_t *indices = times + (size_t)header->time_count * time_size;
    const uint8_t *types = indices + header->time_count;

    zone->count = 1;
    zone->changes[0].at_s = INT64_MIN;
    if (!read_offset(header, types, 0, &zone->changes[0].offset_s))
        return ZONE_BAD_TYPES;
    for (uint32_t i = 0; i < header->time_count; i++) {
        struct zone_change change = {.at_s = read_time(times + (size_t)i * time_size, time_size)};
        if (!read_offset(header, types, indices[i], &change.offset_s))
            return ZONE_BAD_TYPES;
        if (i > 0 && change.at_s <= zone->changes[i].at_s)
            return ZONE_BAD_TIMES;
        zone->changes[zone->count++] = change;
    }
    return ZONE_OK;
}

/* Behind the last one, which stays the last: what does not come later is known already. */
static enum zone_error append(struct zone *zone, int64_t at_s, int32_t offset_s)
{
    if (at_s < zone->changes[zone->count - 1].at_s)
        return ZONE_OK;
    if (zone->count == ZONE_MAX_CHANGES)
        return ZONE_TOO_LARGE;
    zone->changes[zone->count++] = (struct zone_change){at_s, offset_s};
    return ZONE_OK;
}

/* One year's two changes, in their order. */
static enum zone_error append_year(struct zone *zone, const struct zone_rule *rule, int64_t year)
{
    const struct zone_change begin = {zone_rule_at(&rule->begin, year, rule->standard_s),
                                      rule->daylight_s};
    const struct zone_change end = {zone_rule_at(&rule->end, year, rule->daylight_s),
                                    rule->standard_s};
    const struct zone_change *first = begin.at_s <= end.at_s ? &begin : &end;
    const struct zone_change *second = first == &begin ? &end : &begin;
    const enum zone_error error = append(zone, first->at_s, first->offset_s);
    return error ? error : append(zone, second->at_s, second->offset_s);
}

/* "\nRULE\n"; without a rule the last change holds for ever. */
static enum zone_error take_footer(struct input *input, struct zone *zone)
{
    const uint8_t *newline = take(input, 1);
    const uint8_t *text = input->at;
    const uint8_t *end = newline ? memchr(text, '\n', input->left) : NULL;
    struct zone_rule rule;

    if (!end)
        return ZONE_CUT_SHORT;
    if (*newline != '\n')
        return ZONE_BAD_FOOTER;
    if (end == text)
        return ZONE_OK;
    if (!zone_rule_parse((const char *)text, (size_t)(end - text), &rule))
        return ZONE_BAD_FOOTER;
    if (zone->count == 1) /* nothing listed: the rule alone counts (RFC 8536, 3.3) */
        zone->changes[0].offset_s = rule.standard_s;
    for (int64_t year = 1969; rule.has_daylight && year <= ZONE_LAST_YEAR; year++) {
        const enum zone_error error = append_year(zone, &rule, year);
        if (error)
            return error;
    }
    return ZONE_OK;
}

enum zone_error zone_parse(const void *bytes, size_t len, struct zone *ret_zone)
{
    struct input input = {bytes, len};
    struct header header;
    enum zone_error error = len > ZONE_MAX_BYTES ? ZONE_TOO_LARGE : take_header(&input, &header);
    if (error)
        return error;
    if (header.version == 0)
        return take_block(&input, &header, 4, ret_zone);
    if (!take(&input, block_bytes(&header, 4)))
        return ZONE_CUT_SHORT;
    error = take_header(&input, &header);
    if (!error)
        error = take_block(&input, &header, 8, ret_zone);
    return error ? error : take_footer(&input, ret_zone);
}

const char *zone_error_text(enum zone_error error)
{
    switch (error) {
    case ZONE_OK:
        return "is fine";
    case ZONE_NOT_TZIF:
        return "is not a compiled time zone (TZif)";
    case ZONE_CUT_SHORT:
        return "is damaged: it ends too early";
    case ZONE_BAD_COUNTS:
        return "is damaged: it has no offset";
    case ZONE_BAD_TIMES:
        return "is damaged: its changes are out of order";
    case ZONE_BAD_TYPES:
        return "is damaged: a change to an offset that cannot be";
    case ZONE_BAD_FOOTER:
        return "is damaged: its rule for later years cannot be read";
    case ZONE_HAS_LEAP_SECONDS:
        return "counts leap seconds, which the system's clock does not; the same zone without "
               "right/ is needed";
    case ZONE_TOO_LARGE:
        return "is too large for a time zone";
    }
    return "is damaged";
}

void zone_init_utc(struct zone *zone)
{
    zone->count = 1;
    zone->changes[0] = (struct zone_change){.at_s = INT64_MIN, .offset_s = 0};
}
