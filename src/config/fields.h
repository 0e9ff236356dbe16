/* The fields of one mapping by a list of what may stand there. Any thread. */
#ifndef METE_CONFIG_FIELDS_H
#define METE_CONFIG_FIELDS_H

#include <stddef.h>

struct node;
struct report;

enum field_need { FIELD_OPTIONAL, FIELD_NEEDED, FIELD_UNSERVED };

struct field_spec {
    const char *name;
    enum field_need need;
};

/* Puts the child named specs[i].name into ret_nodes[i], NULL where it does not stand. Results: 0,
 * or -EINVAL after reporting: not a mapping, a field unknown, unserved or missing. */
int fields_read(const struct report *report, const struct node *map, const struct field_spec *specs,
                size_t count, const struct node **ret_nodes);

/* "... is not served by this version": -EINVAL. */
int fields_unserved(const struct report *report, const struct node *node);

#endif
