/* config.c - see config.h. libyaml gives events; a stack of open lists and mappings makes the tree. */
#include "base/config.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"

enum { DEPTH_LIMIT = 32, NODE_LIMIT = 65536, FILE_LIMIT = 1 << 20 };

typedef struct node_chunk {
    struct node_chunk *before;
    lathe_config_node node;
} node_chunk;

struct lathe_config {
    node_chunk *chunks; /* all nodes, last made first */
    lathe_config_node *root;
    int n_nodes;
};

typedef struct open_node {
    lathe_config_node *node, *last; /* last entry so far */
    char *key;                      /* of the next entry of a mapping; NULL: a key comes next */
} open_node;

typedef struct builder {
    lathe_config *config;
    const char *name;
    open_node stack[DEPTH_LIMIT];
    int depth;
} builder;

static void free_text(const char *text) {
    union {
        const char *in;
        char *out;
    } p = {.in = text};
    free(p.out);
}

void lathe_config_free(lathe_config *config) {
    if (!config)
        return;
    while (config->chunks) {
        node_chunk *chunk = config->chunks;
        config->chunks = chunk->before;
        free_text(chunk->node.key);
        free_text(chunk->node.value);
        free(chunk);
    }
    free(config);
}

const lathe_config_node *lathe_config_root(const lathe_config *config) {
    return config->root;
}

static bool same_key(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return false;
    return *a == *b;
}

const lathe_config_node *lathe_config_get(const lathe_config_node *node, const char *key) {
    if (!node || node->kind != LATHE_CONFIG_MAP)
        return NULL;
    for (const lathe_config_node *item = node->items; item; item = item->next)
        if (same_key(item->key, key))
            return item;
    return NULL;
}

/* Makes a node and hangs it under the innermost open one; takes the pending key and the value. */
static lathe_status add_node(builder *b, lathe_config_kind kind, char *value, int line,
                             lathe_config_node **made, lathe_error *err) {
    node_chunk *chunk = b->config->n_nodes < NODE_LIMIT ? calloc(1, sizeof *chunk) : NULL;
    if (!chunk) {
        free(value);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s:%d: more than %d entries", b->name, line, NODE_LIMIT);
    }
    chunk->before = b->config->chunks;
    b->config->chunks = chunk;
    b->config->n_nodes++;
    lathe_config_node *node = &chunk->node;
    *node = (lathe_config_node){.kind = kind, .value = value, .line = line};
    if (b->depth == 0) {
        b->config->root = node;
    } else {
        open_node *parent = &b->stack[b->depth - 1];
        node->key = parent->key;
        parent->key = NULL;
        if (parent->last)
            parent->last->next = node;
        else
            parent->node->items = node;
        parent->last = node;
    }
    *made = node;
    return LATHE_OK;
}

static lathe_status on_scalar(builder *b, const yaml_event_t *event, int line, lathe_error *err) {
    const char *text = (const char *) event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: a text with a zero byte", b->name, line);
    char *copy = strdup(text);
    if (!copy)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s:%d: no memory", b->name, line);
    open_node *parent = b->depth > 0 ? &b->stack[b->depth - 1] : NULL;
    if (parent && parent->node->kind == LATHE_CONFIG_MAP && !parent->key) {
        const lathe_config_node *before = lathe_config_get(parent->node, copy);
        if (before) {
            const lathe_status st =
                lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: key '%.80s' stands already on line %d", b->name,
                           line, copy, before->line);
            free(copy);
            return st;
        }
        parent->key = copy;
        return LATHE_OK;
    }
    lathe_config_node *node = NULL;
    return add_node(b, LATHE_CONFIG_SCALAR, copy, line, &node, err);
}

static lathe_status on_start(builder *b, lathe_config_kind kind, int line, lathe_error *err) {
    const open_node *parent = b->depth > 0 ? &b->stack[b->depth - 1] : NULL;
    if (parent && parent->node->kind == LATHE_CONFIG_MAP && !parent->key)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: a key must be a plain text", b->name, line);
    if (b->depth == DEPTH_LIMIT)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: nested more than %d deep", b->name, line,
                          DEPTH_LIMIT);
    lathe_config_node *node = NULL;
    const lathe_status st = add_node(b, kind, NULL, line, &node, err);
    if (st)
        return st;
    b->stack[b->depth++] = (open_node){.node = node};
    return LATHE_OK;
}

/* One event; *done is set at the end of the stream. */
static lathe_status on_event(builder *b, const yaml_event_t *event, int *n_documents, bool *done,
                             lathe_error *err) {
    const int line = (int) event->start_mark.line + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*n_documents > 1)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: a second document; one is allowed", b->name,
                              line);
        return LATHE_OK;
    case YAML_ALIAS_EVENT:
        return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: aliases (*name) are not allowed; write the value",
                          b->name, line);
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor || event->data.scalar.tag)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: anchors and tags are not allowed", b->name, line);
        return on_scalar(b, event, line, err);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor || event->data.sequence_start.tag)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: anchors and tags are not allowed", b->name, line);
        return on_start(b, LATHE_CONFIG_LIST, line, err);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor || event->data.mapping_start.tag)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: anchors and tags are not allowed", b->name, line);
        return on_start(b, LATHE_CONFIG_MAP, line, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return LATHE_OK;
    case YAML_STREAM_END_EVENT:
        *done = true;
        return LATHE_OK;
    default:
        return LATHE_OK;
    }
}

static lathe_status build(builder *b, const char *text, size_t n_bytes, lathe_error *err) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", b->name);
    yaml_parser_set_input_string(&parser, (const unsigned char *) text, n_bytes);
    lathe_status st = LATHE_OK;
    int n_documents = 0;
    bool done = false;
    while (!st && !done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            st =
                lathe_fail(err, LATHE_ERR_INPUT, "%s:%zu:%zu: %s", b->name, parser.problem_mark.line + 1,
                           parser.problem_mark.column + 1, parser.problem ? parser.problem : "no valid YAML");
            break;
        }
        st = on_event(b, &event, &n_documents, &done, err);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    for (int i = 0; i < DEPTH_LIMIT; i++)
        free(b->stack[i].key);
    return st;
}

lathe_status lathe_config_parse(const char *text, size_t n_bytes, const char *name, lathe_config **config,
                                lathe_error *err) {
    if (n_bytes > FILE_LIMIT)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %zu bytes; a configuration has at most %d", name,
                          n_bytes, FILE_LIMIT);
    lathe_config *made = calloc(1, sizeof *made);
    if (!made)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", name);
    builder b = {.config = made, .name = name};
    lathe_status st = build(&b, text, n_bytes, err);
    lathe_config_node *root = NULL;
    if (!st && (!made->root || (made->root->kind == LATHE_CONFIG_SCALAR && made->root->value[0] == '\0'))) {
        b.depth = 0;
        st = add_node(&b, LATHE_CONFIG_MAP, NULL, 1, &root, err);
    }
    if (!st && made->root->kind != LATHE_CONFIG_MAP)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s:%d: lines of the form 'key: value' are needed", name,
                        made->root->line);
    if (st) {
        lathe_config_free(made);
        return st;
    }
    *config = made;
    return LATHE_OK;
}

lathe_status lathe_config_read(const char *path, lathe_config **config, lathe_error *err) {
    char *text = NULL;
    size_t n = 0;
    lathe_status st = lathe_file_read(path, FILE_LIMIT, &text, &n, err);
    if (st)
        return st;
    st = lathe_config_parse(text, n, path, config, err);
    free(text);
    return st;
}
