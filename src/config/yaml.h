/* YAML text to a small tree of nodes: the only file that knows libyaml is yaml.c.
 *
 * Only what a configuration needs: mappings, lists and scalars of printable ASCII. Anchors,
 * aliases, tags, several documents and equal keys are refused with a clear message, as is anything
 * beyond the bounds below, so memory is at most a small multiple of the text. Every scalar is text;
 * its type is the schema's business.
 *
 * Functions are yaml_tree_..., for libyaml has a yaml_free() of its own, which it would find here.
 *
 * Threads: a document belongs to one thread. */
#ifndef METE_CONFIG_YAML_H
#define METE_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#define YAML_MAX_BYTES (4u << 20)
#define YAML_MAX_DEPTH 16u
#define YAML_MAX_NODES (1u << 20)
#define YAML_MAX_KEYS 256u /* of one mapping: equal keys are looked for pair by pair */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    unsigned line;     /* from 1; of the key, where there is one */
    unsigned position; /* in its parent, from 0 */
    unsigned count;    /* of children */
    const char *key;   /* in a mapping, else NULL */
    const char *text;  /* of a scalar, else NULL */
    const struct node *parent;
    struct node *children, *last_child; /* a list, linked by next */
    struct node *next;
};

struct document {
    struct node *root;             /* NULL: the text has no node at all */
    struct document_chunk *chunks; /* all memory of the nodes */
};

struct report;

/* Results: 0, or -EINVAL or -ENOMEM after saying so in report. Either way yaml_tree_free() frees.
 */
int yaml_tree_parse(const char *text, size_t len, const struct report *report,
                    struct document *ret_document);

/* One scalar with this text, as if it stood in a file. Results: 0, -ENOMEM. */
int yaml_tree_make_scalar(const char *text, struct document *ret_document);
void yaml_tree_free(struct document *document);

/* The child of that key, or NULL. */
const struct node *yaml_tree_child(const struct node *map, const char *key);

/* "a mapping", "a list", "a value". */
const char *yaml_tree_kind_text(const struct node *node);

#endif
