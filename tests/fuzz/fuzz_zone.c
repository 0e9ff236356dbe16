/* Any bytes as a time zone: behind a first byte of odd value as the rule of a footer, else as a
 * whole file. What is taken gives changes in order and sane offsets, and calendars whose edges
 * rise, are found again, and stand where the zone's clocks first show a new date. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/calendar.h"
#include "core/zone.h"
#include "core/zone_rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static void judge_calendar(const struct zone *zone, enum calendar_per per, uint32_t asked_s)
{
    struct calendar *calendar = malloc(calendar_size_bytes(per));
    require(calendar != NULL);
    calendar_init(calendar, per, "fuzz", zone);
    require(calendar->count >= 1 && calendar->ends_s[calendar->count - 1] == UINT32_MAX);
    for (uint32_t i = 1; i < calendar->count; i++)
        require(calendar->ends_s[i] > calendar->ends_s[i - 1]);
    const uint32_t end_s = calendar_end_s(calendar, asked_s);
    require(end_s > asked_s || end_s == UINT32_MAX);
    for (uint32_t i = 0; i + 1 < calendar->count; i += 1 + i / 8) {
        require(calendar_end_s(calendar, calendar->ends_s[i]) == calendar->ends_s[i + 1]);
        require(calendar_end_s(calendar, calendar->ends_s[i] - 1) == calendar->ends_s[i]);
    }
    free(calendar);
}

static void judge_rule(const uint8_t *bytes, size_t size)
{
    struct zone_rule rule;
    if (!zone_rule_parse((const char *)bytes, size, &rule))
        return;
    require(rule.standard_s >= -90000 && rule.standard_s <= 90000);
    for (int64_t year = 1969; rule.has_daylight && year <= ZONE_LAST_YEAR; year++) {
        const int64_t begin_s = zone_rule_at(&rule.begin, year, rule.standard_s);
        const int64_t end_s = zone_rule_at(&rule.end, year, rule.daylight_s);
        require(llabs(begin_s - end_s) < 400 * 86400ll);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zone zone;

    if (size < 6)
        return 0;
    if (data[0] & 1) {
        judge_rule(data + 1, size - 1);
        return 0;
    }
    const enum zone_error error = zone_parse(data + 6, size - 6, &zone);
    require(strlen(zone_error_text(error)) > 0);
    if (error != ZONE_OK)
        return 0;
    require(zone.count >= 1 && zone.count <= ZONE_MAX_CHANGES);
    require(zone.changes[0].at_s == INT64_MIN);
    for (uint32_t i = 0; i < zone.count; i++) {
        require(llabs((long long)zone.changes[i].offset_s) <= ZONE_MAX_OFFSET_S);
        require(i == 0 || zone.changes[i].at_s >= zone.changes[i - 1].at_s);
    }
    uint32_t asked_s;
    memcpy(&asked_s, data + 2, sizeof(asked_s));
    judge_calendar(&zone, (enum calendar_per)(data[1] % CALENDAR_PER_COUNT), asked_s);
    return 0;
}
