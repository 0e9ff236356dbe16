/* What is wrong with a configuration, in one line:
 *
 *   mete.yaml:12: tenants[0].rules[1].rate: '10/x' has unit 'x'; one of ms, s, m, h, d
 *   --set table.entries: '3' is below 16
 *   METE_TABLE_ENTRIES: '3' is below 16
 *
 * The field's path is read off the tree of nodes, so nothing is spent on it before a mistake. The
 * first report of a load stands; the caller stops there. */
#ifndef METE_CONFIG_REPORT_H
#define METE_CONFIG_REPORT_H

#include <stddef.h>

struct node;

struct report {
    char *error;
    size_t size;
    const char *file;     /* its name; NULL when an override is judged */
    const char *override; /* "--set table.entries", "METE_TABLE_ENTRIES" */
};

/* "FILE:LINE: text"; line 0: "FILE: text". Always -EINVAL, so that callers can return it. */
int report_at(const struct report *report, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "FILE:LINE: path: text", the path being the node's. -EINVAL. */
int report_node(const struct report *report, const struct node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same about a field that the mapping does not have. -EINVAL. */
int report_field(const struct report *report, const struct node *map, const char *field,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same with a line of its own; parent and key may be NULL. */
void report_text(const struct report *report, unsigned line, const struct node *parent,
                 const char *key, const char *text);

/* An unknown field, with the nearest of the names if one is near. -EINVAL. */
int report_unknown(const struct report *report, const struct node *node, const char *const *names,
                   size_t count);

int report_memory(const struct report *report); /* -ENOMEM */

#if defined(METE_ANALYZE) && !defined(METE_REPORTS) /* what `make analyze` cannot see from here */
#define report_at(...) (report_at(__VA_ARGS__), -22)
#define report_node(...) (report_node(__VA_ARGS__), -22)
#define report_field(...) (report_field(__VA_ARGS__), -22)
#define report_unknown(...) (report_unknown(__VA_ARGS__), -22)
#define report_memory(report) (report_memory(report), -12)
#endif

/* Control characters to '?': one line stays one line. */
void report_make_printable(char *line);

/* The name that was probably meant (few edits away), or NULL. */
const char *report_nearest(const char *name, const char *const *names, size_t count);

#endif
