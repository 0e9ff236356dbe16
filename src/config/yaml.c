/* YAML text to nodes over libyaml's event parser. The tree is built by hand, not by libyaml's
 * document loader, because that one resolves aliases (a few lines can then stand for gigabytes) and
 * drops the lines of keys. Nodes live in chunks that are freed at once. */
#include "config/yaml.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/report.h"

#define CHUNK_BYTES 65536u

struct document_chunk {
    struct document_chunk *next;
    size_t used, size;
    max_align_t bytes[];
};

struct builder {
    struct document *document;
    const struct report *report;
    const char *text;
    size_t len;
    struct node *open[YAML_MAX_DEPTH]; /* the collections that we are in */
    unsigned depth;
    const char *key; /* read, waits for its value */
    unsigned key_line;
    unsigned node_count;
};

static void *take(struct document *document, size_t size)
{
    struct document_chunk *chunk = document->chunks;
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (!chunk || chunk->size - chunk->used < size) {
        const size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = malloc(sizeof(*chunk) + room);
        if (!chunk)
            return NULL;
        *chunk = (struct document_chunk){.next = document->chunks, .size = room};
        document->chunks = chunk;
    }
    void *taken = (char *)chunk->bytes + chunk->used;
    chunk->used += size;
    return taken;
}

static char *take_text(struct document *document, const char *text, size_t len)
{
    char *copy = take(document, len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = 0;
    }
    return copy;
}

static int fail(const struct builder *builder, unsigned line, const char *text)
{
    const struct node *parent = builder->depth ? builder->open[builder->depth - 1] : NULL;
    report_text(builder->report, line, parent, builder->key, text);
    return -EINVAL;
}

static int fail_memory(const struct builder *builder)
{
    report_text(builder->report, 0, NULL, NULL, "out of memory");
    return -ENOMEM;
}

static unsigned line_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->line + 1;
}

/* An IPv6 address without quotes reads as a list and something behind it: the commonest way to
 * a message that nobody understands. */
static bool line_has_bare_ipv6(const struct builder *builder, size_t line)
{
    const char *at = builder->text;
    const char *const end = at + builder->len;
    for (; line && at; line--) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (!at || at == end)
        return false;
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    return memmem(at, (size_t)((stop ? stop : end) - at), "]:", 2) != NULL;
}

static int fail_syntax(const struct builder *builder, const yaml_parser_t *parser)
{
    const char *problem = parser->problem ? parser->problem : "cannot be read";
    const size_t line = parser->problem_mark.line;
    const bool hint =
        parser->error != YAML_READER_ERROR &&
        (line_has_bare_ipv6(builder, line) || (line && line_has_bare_ipv6(builder, line - 1)));
    if (parser->error == YAML_MEMORY_ERROR)
        return fail_memory(builder);
    if (parser->error == YAML_READER_ERROR) {
        report_at(builder->report, 0, "not text in UTF-8: %s at byte %zu", problem,
                  parser->problem_offset);
        return -EINVAL;
    }
    report_at(builder->report, (unsigned)line + 1, "not YAML: %s%s%s%s", problem,
              parser->context ? " " : "", parser->context ? parser->context : "",
              hint ? "; an IPv6 address needs quotes, as \"[::1]:6383\"" : "");
    return -EINVAL;
}

static bool ends_line(const char *text, size_t at)
{
    if (at == 0 || text[at - 1] == '\n' || text[at - 1] == '\r')
        return true;
    if (at >= 2 && memcmp(text + at - 2, "\xc2\x85", 2) == 0) /* next line */
        return true;
    return at >= 3 && (memcmp(text + at - 3, "\xe2\x80\xa8", 3) == 0 || /* line separator */
                       memcmp(text + at - 3, "\xe2\x80\xa9", 3) == 0);
}

/* Directives have no use here, and libyaml compares each %TAG with all before it: megabytes of them
 * would take minutes. */
static int refuse_directives(const struct builder *builder)
{
    const char *const text = builder->text;
    unsigned line = 1;
    for (size_t i = 0; i < builder->len; i++) {
        if (text[i] == '%' && ends_line(text, i))
            return fail(builder, line, "a line starts with %; directives are not accepted");
        line += text[i] == '\n';
    }
    return 0;
}

static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return true;
}

/* Makes a node and hangs it below the collection that we are in. */
static int add_node(struct builder *builder, enum node_kind kind, unsigned line,
                    struct node **ret_node)
{
    struct node *parent = builder->depth ? builder->open[builder->depth - 1] : NULL;
    if (++builder->node_count > YAML_MAX_NODES)
        return fail(builder, line, "is one too many; a configuration holds at most 1048576 values");
    struct node *node = take(builder->document, sizeof(*node));
    if (!node)
        return fail_memory(builder);
    *node = (struct node){.kind = kind, .line = builder->key ? builder->key_line : line};
    node->parent = parent;
    node->key = builder->key;
    builder->key = NULL;
    if (!parent) {
        builder->document->root = node;
    } else {
        node->position = parent->count++;
        *(parent->last_child ? &parent->last_child->next : &parent->children) = node;
        parent->last_child = node;
    }
    *ret_node = node;
    return 0;
}

static int on_key(struct builder *builder, const char *text, size_t len, unsigned line)
{
    const struct node *map = builder->open[builder->depth - 1];
    char *key = take_text(builder->document, text, len);
    if (!key)
        return fail_memory(builder);
    if (len == 0)
        return fail(builder, line, "a field's name is empty");
    builder->key = key;
    builder->key_line = line;
    if (yaml_tree_child(map, key))
        return fail(builder, line, "stands here twice; remove one");
    if (map->count >= YAML_MAX_KEYS)
        return fail(builder, line, "is one too many; a mapping holds at most 256 fields");
    return 0;
}

static int on_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    const size_t len = event->data.scalar.length;
    const unsigned line = line_of(&event->start_mark);
    const struct node *parent = builder->depth ? builder->open[builder->depth - 1] : NULL;
    struct node *node;

    if (event->data.scalar.anchor)
        return fail(builder, line, "has an anchor (&); anchors are not accepted");
    if (event->data.scalar.tag)
        return fail(builder, line, "has a tag (!); tags are not accepted");
    if (!is_printable(text, len))
        return fail(builder, line,
                    "has a line break, a control character or a letter beyond ASCII; only "
                    "printable ASCII is accepted");
    if (parent && parent->kind == NODE_MAP && !builder->key)
        return on_key(builder, text, len, line);
    const int result = add_node(builder, NODE_SCALAR, line, &node);
    if (result)
        return result;
    node->text = take_text(builder->document, text, len);
    return node->text ? 0 : fail_memory(builder);
}

static int on_open(struct builder *builder, enum node_kind kind, const yaml_event_t *event)
{
    const unsigned line = line_of(&event->start_mark);
    const struct node *parent = builder->depth ? builder->open[builder->depth - 1] : NULL;
    const bool list = kind == NODE_LIST;
    struct node *node;

    if (list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor)
        return fail(builder, line, "has an anchor (&); anchors are not accepted");
    if (list ? event->data.sequence_start.tag : event->data.mapping_start.tag)
        return fail(builder, line, "has a tag (!); tags are not accepted");
    if (parent && parent->kind == NODE_MAP && !builder->key)
        return fail(builder, line, "has a list or a mapping where a field's name should be");
    if (builder->depth == YAML_MAX_DEPTH)
        return fail(builder, line, "is nested deeper than 16");
    const int result = add_node(builder, kind, line, &node);
    if (result == 0)
        builder->open[builder->depth++] = node;
    return result;
}

static int on_event(struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(builder, NODE_LIST, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(builder, NODE_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return 0;
    case YAML_ALIAS_EVENT:
        return fail(builder, line_of(&event->start_mark),
                    "is an alias (*); aliases are not accepted");
    case YAML_DOCUMENT_START_EVENT:
        if (builder->document->root)
            return fail(builder, line_of(&event->start_mark),
                        "a second document (---); a configuration is one");
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

int yaml_tree_parse(const char *text, size_t len, const struct report *report,
                    struct document *ret_document)
{
    *ret_document = (struct document){0};
    struct builder builder = {.document = ret_document, .report = report, .text = text, .len = len};
    yaml_parser_t parser;
    yaml_event_t event;
    int result = 0;
    bool done = false;

    if (len > YAML_MAX_BYTES) {
        report_at(report, 0, "is larger than 4 MiB, the most that a configuration may have");
        return -EINVAL;
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        builder.text += 3;
        builder.len -= 3;
    }
    result = refuse_directives(&builder);
    if (result)
        return result;
    if (!yaml_parser_initialize(&parser))
        return fail_memory(&builder);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)builder.text, builder.len);
    while (!done && result == 0) {
        if (!yaml_parser_parse(&parser, &event)) {
            result = fail_syntax(&builder, &parser);
            break;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        result = on_event(&builder, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return result;
}

int yaml_tree_make_scalar(const char *text, struct document *ret_document)
{
    *ret_document = (struct document){0};
    struct node *node = take(ret_document, sizeof(*node));
    char *copy = node ? take_text(ret_document, text, strlen(text)) : NULL;
    if (!copy)
        return -ENOMEM;
    *node = (struct node){.kind = NODE_SCALAR, .text = copy};
    ret_document->root = node;
    return 0;
}

void yaml_tree_free(struct document *document)
{
    while (document->chunks) {
        struct document_chunk *next = document->chunks->next;
        free(document->chunks);
        document->chunks = next;
    }
    document->root = NULL;
}

const struct node *yaml_tree_child(const struct node *map, const char *key)
{
    for (const struct node *child = map->children; child; child = child->next)
        if (child->key && strcmp(child->key, key) == 0)
            return child;
    return NULL;
}

const char *yaml_tree_kind_text(const struct node *node)
{
    switch (node->kind) {
    case NODE_LIST:
        return "a list";
    case NODE_MAP:
        return "a mapping";
    case NODE_SCALAR:
        break;
    }
    return *node->text ? "a single value" : "empty";
}
