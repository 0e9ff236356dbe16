/* Which rule judges what an Envoy asks for: a tree of keys and values, as its own rate limit
 * service has it.
 *
 *   descriptors:
 *     - {key: path, value: /login, rule: login}          # this value
 *     - {key: path, value: "/static*", rule: static}     # values that start so
 *     - key: remote_address                              # any value
 *       rule: per_address
 *       descriptors:
 *         - {key: path, rule: per_address_and_path}
 *
 * A request's descriptor is a list of pairs. Each takes one step down: to the node of its key and
 * value, else of the longest prefix of its value, else of its key alone. Where the last pair
 * arrives is the rule; a list that is longer or shorter than what stands there finds none.
 *
 * The subject under the rule is made of the values alone, so that a single value is the same
 * subject as on every other door: several are joined by '|', with a '\' before each '|' and '\' in
 * one. A node that is `shared` gives its own text in place of the value.
 *
 * Loading by one thread; finding by any, without memory or locks. */
#ifndef METE_CONFIG_DESCRIPTORS_H
#define METE_CONFIG_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define DESCRIPTORS_MAX_TEXT 1024u /* bytes of a key or value in the configuration */

struct node;
struct report;
struct rule;
struct tenant;

enum descriptor_kind { DESCRIPTOR_EXACT, DESCRIPTOR_PREFIX, DESCRIPTOR_ANY };

struct descriptor {    /* one node */
    char *key, *value; /* value: without the '*' of a prefix; NULL: any */
    uint32_t key_len, value_len;
    enum descriptor_kind kind;
    bool is_shared;
    const struct rule *rule; /* of the tenant; NULL: no limit */
    struct descriptors *below;
};

struct descriptors { /* of one level: by key, kind, then value; prefixes the longest first */
    struct descriptor *items;
    uint32_t count;
};

/* Results: 0, or -EINVAL or -ENOMEM after saying so in report. The tenant has its rules. */
int descriptors_parse(const struct report *report, const struct node *list,
                      const struct tenant *tenant, struct descriptors **ret_descriptors);

/* `envoy: {charge: all_or_nothing|each, headers: true}` into the tenant. */
int descriptors_parse_answers(const struct report *report, const struct node *map,
                              struct tenant *tenant);
void descriptors_free(struct descriptors *descriptors); /* NULL is nothing */

/* The node one step down; NULL: there is none. level may be NULL. */
const struct descriptor *descriptors_find(const struct descriptors *level, const void *key,
                                          size_t key_len, const void *value, size_t value_len);

bool descriptors_are_same(const struct descriptors *one, const struct descriptors *other);

/* As YAML, each line behind so many blanks. */
void descriptors_print(const struct descriptors *descriptors, unsigned indent, FILE *out);

#endif
