/* Puts a mistake into one line. Text from outside may be quoted in it: what is not printable
 * becomes
 * '?', so that the line stays one line whatever the file holds. Threads: none of its own state. */
#define METE_REPORTS /* these are its functions themselves */
#include "config/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/yaml.h"

#define PATH_SIZE 256u
#define NEAREST_MAX 31u /* longer names are not compared */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Appends the node's path from the root; returns the length, never beyond size - 1. */
static size_t path_of(const struct node *node, char *path, size_t size)
{
    if (!node || !node->parent)
        return 0;
    size_t len = path_of(node->parent, path, size);
    int more;
    if (node->key)
        more = snprintf(path + len, size - len, "%s%.64s", len ? "." : "", node->key);
    else
        more = snprintf(path + len, size - len, "[%u]", node->position);
    return min_size(len + (size_t)more, size - 1);
}

void report_make_printable(char *line)
{
    for (; *line; line++)
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = '?';
}

static void write_line(const struct report *report, unsigned line, const char *path,
                       const char *text)
{
    if (!report->error || report->size == 0)
        return;
    if (report->override)
        snprintf(report->error, report->size, "%s%s%s: %s", report->override,
                 *path && *path != '[' ? "." : "", path, text);
    else if (line)
        snprintf(report->error, report->size, "%s:%u: %s%s%s", report->file, line, path,
                 *path ? ": " : "", text);
    else
        snprintf(report->error, report->size, "%s: %s%s%s", report->file, path, *path ? ": " : "",
                 text);
    report_make_printable(report->error);
}

int report_at(const struct report *report, unsigned line, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    write_line(report, line, "", text);
    return -EINVAL;
}

int report_node(const struct report *report, const struct node *node, const char *format, ...)
{
    char path[PATH_SIZE] = "";
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    path_of(node, path, sizeof(path));
    write_line(report, node->line, path, text);
    return -EINVAL;
}

void report_text(const struct report *report, unsigned line, const struct node *parent,
                 const char *key, const char *text)
{
    char path[PATH_SIZE] = "";
    const size_t len = path_of(parent, path, sizeof(path));
    if (key)
        snprintf(path + len, sizeof(path) - len, "%s%.64s", len ? "." : "", key);
    write_line(report, line, path, text);
}

int report_field(const struct report *report, const struct node *map, const char *field,
                 const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    report_text(report, map->line, map, field, text);
    return -EINVAL;
}

/* Levenshtein's distance by rows (Wagner and Fischer 1974). Both are at most NEAREST_MAX long. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NEAREST_MAX + 1];
    const size_t width = strlen(b);
    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 0; a[i]; i++) {
        unsigned diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            unsigned best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[width];
}

const char *report_nearest(const char *name, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    unsigned best = 0;
    if (strlen(name) > NEAREST_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const size_t len = strlen(names[i]);
        if (len > NEAREST_MAX)
            continue;
        const unsigned distance = edit_distance(name, names[i]);
        if (distance <= (len + 2) / 3 && (!nearest || distance < best)) {
            nearest = names[i];
            best = distance;
        }
    }
    return nearest;
}

int report_unknown(const struct report *report, const struct node *node, const char *const *names,
                   size_t count)
{
    const char *nearest = report_nearest(node->key, names, count);
    char all[256] = "";
    if (nearest)
        return report_node(report, node, "unknown field; did you mean '%s'?", nearest);
    for (size_t i = 0, len = 0; i < count && len < sizeof(all); i++)
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", names[i]);
    return report_node(report, node, "unknown field; one of %s", all);
}

int report_memory(const struct report *report)
{
    write_line(report, 0, "", "out of memory");
    return -ENOMEM;
}
