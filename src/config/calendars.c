/* Time zones are files in one folder, found by name. A name is letters, digits and _+- in parts
 * between slashes, so that it cannot leave the folder. */
#include "config/calendars.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/zone.h"

static bool is_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
    const size_t len = strlen(name);
    return len > 0 && len < CALENDAR_ZONE_SIZE && name[strspn(name, allowed)] == 0 &&
           name[0] != '/' && name[len - 1] != '/' && !strstr(name, "//");
}

/* All of a regular file, at most one byte more than may be; that byte is zone_parse()'s to refuse.
 * Results: bytes, or a negative errno; -EISDIR for anything but a file. */
static ssize_t read_file(const char *path, uint8_t *bytes, size_t size)
{
    struct stat about;
    size_t len = 0;
    ssize_t got = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode)) {
        close(fd);
        return -EISDIR;
    }
    do {
        got = read(fd, bytes + len, size - len);
        if (got > 0)
            len += (size_t)got;
    } while ((got > 0 && len < size) || (got < 0 && errno == EINTR));
    const int error = errno;
    close(fd);
    return got < 0 ? -error : (ssize_t)len;
}

static int refuse_unread(const char *folder, int error, char *problem, size_t size)
{
    const char *why = strerror(-error);
    if (error == -ENOENT || error == -ENOTDIR)
        why = access(folder, X_OK) ? "no such folder; is the system's tzdata installed?"
                                   : "no such zone there; for example Europe/Berlin, or UTC";
    if (error == -EISDIR)
        why = "that is no zone but a folder of zones; for example Europe/Berlin";
    snprintf(problem, size, "cannot be read from %.128s: %s", folder, why);
    return -EINVAL;
}

static int read_zone(const char *name, struct zone *zone, char *problem, size_t size)
{
    const char *folder = getenv("TZDIR");
    char path[PATH_MAX];
    if (strcmp(name, "UTC") == 0) {
        zone_init_utc(zone);
        return 0;
    }
    if (!is_name(name)) {
        snprintf(problem, size, "is not the name of a time zone; for example Europe/Berlin");
        return -EINVAL;
    }
    if (!folder || !*folder)
        folder = CALENDARS_FOLDER;
    uint8_t *bytes = malloc(ZONE_MAX_BYTES + 1);
    if (!bytes)
        return -ENOMEM;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    const ssize_t len = read_file(path, bytes, ZONE_MAX_BYTES + 1);
    const enum zone_error error = len < 0 ? ZONE_OK : zone_parse(bytes, (size_t)len, zone);
    free(bytes);
    if (len < 0)
        return refuse_unread(folder, (int)len, problem, size);
    if (!error)
        return 0;
    snprintf(problem, size, "its file in %.128s %s", folder, zone_error_text(error));
    return -EINVAL;
}

int calendars_make(const char *zone, enum calendar_per per, struct calendar **ret_calendar,
                   char *problem, size_t size)
{
    struct zone *parsed = malloc(sizeof(*parsed));
    char what[320] = "";
    int result = parsed ? read_zone(zone, parsed, what, sizeof(what)) : -ENOMEM;
    struct calendar *calendar = result ? NULL : malloc(calendar_size_bytes(per));
    if (result == 0 && !calendar)
        result = -ENOMEM;
    if (result == 0) {
        calendar_init(calendar, per, zone, parsed);
        *ret_calendar = calendar;
    }
    if (result == -EINVAL)
        snprintf(problem, size, "'%.64s' %s", zone, what);
    free(parsed);
    return result;
}

int calendars_find(struct calendars *calendars, const char *zone, enum calendar_per per,
                   const struct calendar **ret_calendar, char *problem, size_t size)
{
    for (uint32_t i = 0; i < calendars->count; i++) {
        const struct calendar *calendar = calendars->items[i];
        if (calendar->per == per && strcmp(calendar->zone, zone) == 0) {
            *ret_calendar = calendar;
            return 0;
        }
    }
    struct calendar **items =
        reallocarray(calendars->items, calendars->count + 1, sizeof(*calendars->items));
    if (!items)
        return -ENOMEM;
    calendars->items = items;
    const int result = calendars_make(zone, per, &items[calendars->count], problem, size);
    if (result)
        return result;
    *ret_calendar = items[calendars->count++];
    return 0;
}

void calendars_free(struct calendars *calendars)
{
    for (uint32_t i = 0; i < calendars->count; i++)
        free(calendars->items[i]);
    free(calendars->items);
    *calendars = (struct calendars){.items = NULL};
}

int calendars_parse_per(const char *text, enum calendar_per *ret_per, char *problem, size_t size)
{
    for (unsigned i = 0; i < CALENDAR_PER_COUNT; i++) {
        if (strcmp(text, calendar_per_name((enum calendar_per)i)) == 0) {
            *ret_per = (enum calendar_per)i;
            return 0;
        }
    }
    if (isdigit((unsigned char)text[0]))
        snprintf(problem, size,
                 "'%.64s' has a count; a calendar's period is one day, week, month or year", text);
    else
        snprintf(problem, size, "'%.64s' is not one of day, week, month, year", text);
    return -EINVAL;
}
