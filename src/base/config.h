/* config.h - configuration files: the small, plain part of YAML that options need.
 *
 * Scalars stay text (an option's table decides what they are), lists and mappings nest up to 32 deep. Refused
 * with line and column: duplicate keys, anchors and aliases, tags, several documents, files over 1 MiB. */
#ifndef LATHE_BASE_CONFIG_H
#define LATHE_BASE_CONFIG_H

#include "lathe/base.h"

typedef enum lathe_config_kind { LATHE_CONFIG_SCALAR, LATHE_CONFIG_LIST, LATHE_CONFIG_MAP } lathe_config_kind;

typedef struct lathe_config_node {
    lathe_config_kind kind;
    const char *key;                       /* of an entry of a mapping; NULL in lists and at the root */
    const char *value;                     /* of a scalar, "" for an empty one; else NULL */
    const struct lathe_config_node *items; /* first entry of a list or mapping; NULL: empty */
    const struct lathe_config_node *next;  /* the entry after this one */
    int line;                              /* from 1 */
} lathe_config_node;

typedef struct lathe_config lathe_config;

LATHE_NODISCARD lathe_status lathe_config_read(const char *path, lathe_config **config, lathe_error *err);
/* As above from memory; name stands in messages. */
LATHE_NODISCARD lathe_status lathe_config_parse(const char *text, size_t n_bytes, const char *name,
                                                lathe_config **config, lathe_error *err);
void lathe_config_free(lathe_config *config);
/* The root, a mapping (an empty file is an empty one). Nodes live as long as the config. */
const lathe_config_node *lathe_config_root(const lathe_config *config);
/* The entry of a mapping with this key ('-' and '_' are the same), or NULL. node may be NULL. */
const lathe_config_node *lathe_config_get(const lathe_config_node *node, const char *key);

#endif
