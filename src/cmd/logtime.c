/* Instants as logs write them: the common log format's `17/May/2015:10:05:03 +0000`, RFC 3339 with
 * its usual relatives (a blank for the T, an offset without colon), and numbers since 1970.
 *
 * strptime() and timegm() are not used: they go by locale, take impossible dates and need an end of
 * string. A leap second counts as the first second of the next minute, as POSIX time has it. A time
 * without a zone is refused, as windows would be cut at the wrong instants. Pure; any thread. */
#include "cmd/logtime.h"

#include <string.h>

#define SECOND_NS 1000000000ull
#define YEAR_MIN 1970
#define YEAR_MAX 2260                         /* its last ns still fits 63 bits */
#define AT_MAX_NS (9183110400ull * SECOND_NS) /* 2261-01-01 */

struct date {
    int year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
    int hour;
    int minute;
    int second;
    int offset_minutes; /* east of Greenwich */
};

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int leap_years_before(int year)
{
    return (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
}

static bool is_valid(const struct date *date)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (date->year < YEAR_MIN || date->year > YEAR_MAX || date->month < 1 || date->month > 12)
        return false;
    const int length = lengths[date->month - 1] + (date->month == 2 && is_leap(date->year));
    return date->day >= 1 && date->day <= length && date->hour <= 23 && date->minute <= 59 &&
           date->second <= 60;
}

static bool to_ns(const struct date *date, uint64_t fraction_ns, uint64_t *ret_at_ns)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

    if (!is_valid(date))
        return false;
    const int64_t days = 365 * (date->year - YEAR_MIN) + leap_years_before(date->year) -
                         /* NOLINTNEXTLINE: is_valid() saw to 1 to 12 */
                         leap_years_before(YEAR_MIN) + before[date->month - 1] +
                         (date->month > 2 && is_leap(date->year)) + date->day - 1;
    const int64_t minutes = (days * 24 + date->hour) * 60 + date->minute - date->offset_minutes;
    const int64_t seconds = minutes * 60 + date->second;
    if (seconds < 0)
        return false;
    *ret_at_ns = (uint64_t)seconds * SECOND_NS + fraction_ns;
    return true;
}

/* Exactly count digits (at most 4), or -1. */
static int digits(const char *text, int count)
{
    int number = 0;
    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* Does text have the form? 'd' stands for a digit, '*' for any byte, others for themselves. */
static bool has_form(const char *text, const char *form)
{
    for (; *form; form++, text++) {
        if (*form == 'd' ? *text < '0' || *text > '9' : *form != '*' && *form != *text)
            return false;
    }
    return true;
}

/* "+hhmm" or "-hhmm", the two digits of the minutes at minutes. */
static bool parse_offset(const char *text, const char *minutes, int *ret_minutes)
{
    const int hour = digits(text + 1, 2);
    const int minute = digits(minutes, 2);
    if ((text[0] != '+' && text[0] != '-') || hour < 0 || hour > 23 || minute < 0 || minute > 59)
        return false;
    *ret_minutes = (text[0] == '-' ? -1 : 1) * (hour * 60 + minute);
    return true;
}

bool logtime_parse_clf(const char *text, size_t len, uint64_t *ret_at_ns)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct date date = {0};

    if (len != LOGTIME_CLF_LEN || !has_form(text, "dd/***/dddd:dd:dd:dd *dddd") ||
        !parse_offset(text + 21, text + 24, &date.offset_minutes))
        return false;
    for (int i = 0; i < 12; i++)
        if (memcmp(text + 3, months + 3 * i, 3) == 0)
            date.month = i + 1;
    date.day = digits(text, 2);
    date.year = digits(text + 7, 4);
    date.hour = digits(text + 12, 2);
    date.minute = digits(text + 15, 2);
    date.second = digits(text + 18, 2);
    return to_ns(&date, 0, ret_at_ns);
}

/* ".123" of a second, in ns; digits past the ninth are dropped. Bytes used; 0 if there is none. */
static size_t parse_fraction(const char *text, size_t len, uint64_t *ret_ns)
{
    uint64_t unit = SECOND_NS;
    size_t used = 1;

    *ret_ns = 0;
    if (len < 2 || text[0] != '.')
        return 0;
    for (; used < len && text[used] >= '0' && text[used] <= '9'; used++) {
        unit /= 10;
        *ret_ns += (uint64_t)(text[used] - '0') * unit;
    }
    return used > 1 ? used : 0;
}

bool logtime_parse_rfc3339(const char *text, size_t len, uint64_t *ret_at_ns)
{
    struct date date = {0};
    uint64_t fraction_ns;

    if (len < 20 || !has_form(text, "dddd-dd-dd*dd:dd:dd") || !memchr("Tt ", text[10], 3))
        return false;
    date.year = digits(text, 4);
    date.month = digits(text + 5, 2);
    date.day = digits(text + 8, 2);
    date.hour = digits(text + 11, 2);
    date.minute = digits(text + 14, 2);
    date.second = digits(text + 17, 2);

    const size_t used = 19 + parse_fraction(text + 19, len - 19, &fraction_ns);
    const char *zone = text + used;
    const size_t rest = len - used;
    const bool is_zulu = rest == 1 && (zone[0] == 'Z' || zone[0] == 'z');
    const bool is_offset =
        (rest == 6 && zone[3] == ':' && parse_offset(zone, zone + 4, &date.offset_minutes)) ||
        (rest == 5 && parse_offset(zone, zone + 3, &date.offset_minutes));
    return (is_zulu || is_offset) && to_ns(&date, fraction_ns, ret_at_ns);
}

/* What one of the number's units is in ns: 1e11 s is the year 5138, 1e11 ms is 1973. */
static uint64_t unit_ns(double number)
{
    if (number < 1e11)
        return SECOND_NS;
    if (number < 1e14)
        return 1000000;
    return number < 1e17 ? 1000 : 1;
}

bool logtime_from_integer(int64_t number, uint64_t *ret_at_ns)
{
    uint64_t at_ns;
    if (number < 0 || __builtin_mul_overflow((uint64_t)number, unit_ns((double)number), &at_ns) ||
        at_ns >= AT_MAX_NS)
        return false;
    *ret_at_ns = at_ns;
    return true;
}

bool logtime_from_real(double number, uint64_t *ret_at_ns)
{
    const double us = number * (double)unit_ns(number) / 1e3;
    /* NOLINTNEXTLINE(bugprone-integer-division): whole microseconds */
    if (!(us >= 0 && us < (double)(AT_MAX_NS / 1000))) /* not a number fails too */
        return false;
    *ret_at_ns = (uint64_t)(us + 0.5) * 1000;
    return true;
}
