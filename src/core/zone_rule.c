/* A parser by descent: one function for each part of the grammar, each a piece of text to a value.
 *
 *   std offset [dst [offset] , begin [/time] , end [/time]]
 *
 * A name is three letters or more, or anything of letters, digits and signs in <>. An offset is
 * written west positive. Daylight saving time without its days means something else everywhere, so
 * it is refused. Any thread may call anything here. */
#include "core/zone_rule.h"

#include "core/civil.h"

#define HOUR_S 3600
#define MAX_OFFSET_HOURS 24
#define MAX_TIME_HOURS 167

struct text {
    const char *at, *end;
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool skip(struct text *text, char c)
{
    if (text->at == text->end || *text->at != c)
        return false;
    text->at++;
    return true;
}

static bool skip_name(struct text *text)
{
    const bool is_quoted = skip(text, '<');
    const char *begin = text->at;
    while (text->at < text->end &&
           (is_letter(*text->at) ||
            (is_quoted && (is_digit(*text->at) || *text->at == '+' || *text->at == '-'))))
        text->at++;
    return text->at - begin >= 3 && (!is_quoted || skip(text, '>'));
}

static bool take_number(struct text *text, int32_t min, int32_t max, int32_t *ret_number)
{
    const char *begin = text->at;
    int32_t number = 0;
    for (; text->at < text->end && is_digit(*text->at) && number <= max; text->at++)
        number = number * 10 + (*text->at - '0');
    *ret_number = number;
    return text->at > begin && number >= min && number <= max;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct text *text, int32_t max_hours, int32_t *ret_s)
{
    int32_t hours, minutes = 0, seconds = 0;
    const bool is_negative = skip(text, '-');
    if (!is_negative)
        skip(text, '+');
    if (!take_number(text, 0, max_hours, &hours))
        return false;
    if (skip(text, ':')) {
        if (!take_number(text, 0, 59, &minutes))
            return false;
        if (skip(text, ':') && !take_number(text, 0, 59, &seconds))
            return false;
    }
    *ret_s = hours * HOUR_S + minutes * 60 + seconds;
    if (is_negative)
        *ret_s = -*ret_s;
    return true;
}

static bool take_offset(struct text *text, int32_t *ret_s)
{
    if (!take_time(text, MAX_OFFSET_HOURS, ret_s))
        return false;
    *ret_s = -*ret_s;
    return true;
}

static bool take_weekday(struct text *text, struct zone_day *day)
{
    int32_t month, week, weekday;
    if (!take_number(text, 1, 12, &month) || !skip(text, '.') || !take_number(text, 1, 5, &week) ||
        !skip(text, '.') || !take_number(text, 0, 6, &weekday))
        return false;
    day->kind = ZONE_DAY_OF_WEEK;
    day->month = (uint8_t)month;
    day->week = (uint8_t)week;
    day->day = (uint16_t)weekday;
    return true;
}

/* ,date[/time] */
static bool take_day(struct text *text, struct zone_day *day)
{
    int32_t number;
    *day = (struct zone_day){.time_s = 2 * HOUR_S};
    if (!skip(text, ','))
        return false;
    if (skip(text, 'M')) {
        if (!take_weekday(text, day))
            return false;
    } else {
        const bool is_julian = skip(text, 'J');
        if (!take_number(text, is_julian, 365, &number))
            return false;
        day->kind = is_julian ? ZONE_DAY_JULIAN : ZONE_DAY_OF_YEAR;
        day->day = (uint16_t)number;
    }
    return !skip(text, '/') || take_time(text, MAX_TIME_HOURS, &day->time_s);
}

bool zone_rule_parse(const char *bytes, size_t len, struct zone_rule *ret_rule)
{
    struct text text = {bytes, bytes + len};
    struct zone_rule rule = {.has_daylight = false};

    if (!skip_name(&text) || !take_offset(&text, &rule.standard_s))
        return false;
    if (text.at < text.end) {
        rule.has_daylight = true;
        rule.daylight_s = rule.standard_s + HOUR_S;
        if (!skip_name(&text))
            return false;
        if (text.at < text.end && *text.at != ',' && !take_offset(&text, &rule.daylight_s))
            return false;
        if (!take_day(&text, &rule.begin) || !take_day(&text, &rule.end))
            return false;
    }
    if (text.at < text.end)
        return false;
    *ret_rule = rule;
    return true;
}

/* The day of a year's change, as the number of days since 1970. */
static int64_t day_of(const struct zone_day *day, int64_t year)
{
    const int64_t begin = civil_year_begin(year);
    switch (day->kind) {
    case ZONE_DAY_JULIAN: /* from 1 March (J60) on, a leap year is one day ahead */
        return begin + day->day - 1 + (civil_is_leap(year) && day->day >= 60);
    case ZONE_DAY_OF_YEAR:
        return begin + day->day;
    case ZONE_DAY_OF_WEEK:
        break;
    }
    const int64_t first = civil_month_begin(year, day->month);
    const unsigned to_weekday = (7u + day->day - civil_weekday(first)) % 7;
    unsigned of_month = to_weekday + 7u * (day->week - 1u);
    if (of_month >= civil_days_in_month(year, day->month)) /* there is no fifth one */
        of_month -= 7;
    return first + of_month;
}

int64_t zone_rule_at(const struct zone_day *day, int64_t year, int32_t offset_s)
{
    return day_of(day, year) * CIVIL_DAY_S + day->time_s - offset_s;
}
