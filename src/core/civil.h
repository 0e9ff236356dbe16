/* Dates of the proleptic Gregorian calendar as numbers of days since 1970-01-01. */
#ifndef METE_CORE_CIVIL_H
#define METE_CORE_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY_S 86400

static inline bool civil_is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* month 1 to 12. */
static inline unsigned civil_days_in_month(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && civil_is_leap(year) ? 1u : 0u);
}

/* Of 1 January; years from 1 on. Leap days before a year: those of the years before it. */
static inline int64_t civil_year_begin(int64_t year)
{
    const int64_t past = year - 1;
    return 365 * (year - 1970) + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 4);
}

/* Of the first of a month. */
static inline int64_t civil_month_begin(int64_t year, unsigned month)
{
    int64_t day = civil_year_begin(year);
    for (unsigned before = 1; before < month; before++)
        day += civil_days_in_month(year, before);
    return day;
}

/* 0 Sunday to 6 Saturday; 1970-01-01 was a Thursday. */
static inline unsigned civil_weekday(int64_t day)
{
    return (unsigned)(((day + 4) % 7 + 7) % 7);
}

#endif
