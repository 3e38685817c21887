/* train_config.c - the structured part of a training configuration (style.md 5.7, learning.md C.e):
 *
 *     model: {family: llama, n_layer: 4, n_embd: 256, n_head: 8, n_head_kv: 4, n_ff: 704}
 *     data: {train: [stories.txt, tales.txt], eval: held.ltok, tokenizer: tok.gguf, seed: 1}
 *     optimizer:
 *       name: adamw
 *       lr: 1e-3
 *       groups:
 *         - {match: "blk.*.(attn_v|attn_output|ffn_*).weight", name: muon, lr: 0.02, scale: original} */
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/text.h"
#include "cli/train_args.h"

const char *const lathe_train_presets[] = {"all", "vo+ffn", "qk",  "vo",   "v", "o",
                                           "ffn", "in",     "out", "gate", NULL};
static const char *const preset_patterns[] = {
    NULL,
    "blk.*.(attn_v|attn_output|ffn_gate|ffn_up|ffn_down).weight",
    "blk.*.attn_[qk].weight",
    "blk.*.(attn_v|attn_output).weight",
    "blk.*.attn_v.weight",
    "blk.*.attn_output.weight",
    "blk.*.(ffn_gate|ffn_up|ffn_down).weight",
    "blk.*.ffn_up.weight",
    "blk.*.ffn_down.weight",
    "blk.*.ffn_gate.weight",
};

void lathe_train_preset(train_args *a) {
    if (a->muon <= 0 || a->n_groups >= LATHE_TRAIN_GROUPS_MAX)
        return;
    a->optimizer = LATHE_OPTIM_ADAMW;
    lathe_train_group *g = &a->groups[a->n_groups++];
    *g = (lathe_train_group){preset_patterns[a->muon], lathe_optim_default(LATHE_OPTIM_MUON), 0};
    g->optim.weight_decay = a->common.weight_decay;
    g->optim.ns = (lathe_ns_kind) a->ns;
    g->optim.original_scale = a->original_scale;
}

typedef enum kind { INT, REAL, TEXT, PATHS, TRUTH, CHOICE } kind;

typedef struct key {
    const char *name;
    kind kind;
    void *out;
    const bool *seen;          /* true: a flag has said it; NULL: never */
    const char *const *choice; /* CHOICE */
} key;

typedef struct reader {
    train_args *a;
    const char *path;
    lathe_error *err;
} reader;

static bool same_key(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return false;
    return *a == *b;
}

/* A file that the configuration names, beside the configuration; a list becomes one text with commas. */
static lathe_status path_beside(reader *r, const lathe_config_node *n, const char **out) {
    const char *slash = strrchr(r->path, '/');
    int folder = slash != NULL ? (int) (slash - r->path) + 1 : 0;
    char *at = r->a->memory + r->a->n_memory;
    *out = at;
    const lathe_config_node one = {.kind = LATHE_CONFIG_SCALAR, .value = n->value};
    for (const lathe_config_node *i = n->kind == LATHE_CONFIG_LIST ? n->items : &one; i != NULL;
         i = i->next) {
        size_t left = sizeof r->a->memory - r->a->n_memory;
        if (i->kind != LATHE_CONFIG_SCALAR)
            return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: '%s' wants a file or a list of files", r->path,
                              n->line, n->key);
        bool plain = i->value[0] == '/' || strcmp(i->value, "char") == 0 || strcmp(i->value, "bytes") == 0 ||
                     strcmp(i->value, "bpe") == 0;
        int k =
            snprintf(at, left, "%.*s%s%s", plain ? 0 : folder, r->path, i->value, i->next != NULL ? "," : "");
        if (k < 0 || (size_t) k + 1 > left)
            return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: the paths are too long", r->path, n->line);
        at += k;
        r->a->n_memory += (size_t) k;
    }
    r->a->n_memory++;
    return LATHE_OK;
}

static lathe_status set(reader *r, const lathe_config_node *n, const key *k) {
    if (k->seen != NULL && *k->seen)
        return LATHE_OK;
    if (k->kind == PATHS)
        return path_beside(r, n, k->out);
    const char *wants = k->kind == INT ? "a whole number" : k->kind == REAL ? "a number" : "true or false";
    if (n->kind == LATHE_CONFIG_SCALAR) {
        if (k->kind == TEXT) {
            *(const char **) k->out = n->value;
            return LATHE_OK;
        }
        if (k->kind == INT && lathe_parse_int(n->value, k->out) && *(const int64_t *) k->out >= 0)
            return LATHE_OK;
        if (k->kind == REAL && lathe_parse_real(n->value, k->out) && *(const double *) k->out >= 0)
            return LATHE_OK;
        if (k->kind == TRUTH && (strcmp(n->value, "true") == 0 || strcmp(n->value, "false") == 0)) {
            *(bool *) k->out = n->value[0] == 't';
            return LATHE_OK;
        }
        for (int32_t i = 0; k->kind == CHOICE && k->choice[i] != NULL; i++)
            if (strcmp(n->value, k->choice[i]) == 0) {
                *(int32_t *) k->out = i;
                return LATHE_OK;
            }
        if (k->kind == CHOICE) {
            const char *near = lathe_nearest_name(n->value, k->choice);
            return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: %s '%.60s' is unknown%s%s%s", r->path, n->line,
                              n->key, n->value, near != NULL ? "; did you mean '" : "",
                              near != NULL ? near : "", near != NULL ? "'?" : "");
        }
    }
    return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: '%s' wants %s", r->path, n->line, n->key, wants);
}

/* Reads a mapping by a table; keys in `skip` are somebody else's. */
static lathe_status section(reader *r, const lathe_config_node *map, const char *name, const key *keys,
                            size_t n, const char *skip) {
    lathe_status status = LATHE_OK;
    if (map == NULL)
        return LATHE_OK;
    if (map->kind != LATHE_CONFIG_MAP)
        return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: '%s' wants keys with values", r->path, map->line,
                          name);
    for (const lathe_config_node *i = map->items; i != NULL && status == LATHE_OK; i = i->next) {
        const key *found = NULL;
        const char *names[64] = {NULL};
        for (size_t k = 0; k < n; k++) {
            names[k] = keys[k].name;
            if (same_key(i->key, keys[k].name))
                found = &keys[k];
        }
        if (skip != NULL && strcmp(i->key, skip) == 0)
            continue;
        if (found != NULL) {
            status = set(r, i, found);
            continue;
        }
        const char *near = lathe_nearest_name(i->key, names);
        status = lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: unknown key '%.60s' in %s%s%s%s", r->path, i->line,
                            i->key, name, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                            near != NULL ? "'?" : "");
    }
    return status;
}

static lathe_status group(reader *r, const lathe_config_node *map) {
    static const char *const scales[] = {"match_rms", "original", NULL};
    if (r->a->n_groups >= LATHE_TRAIN_GROUPS_MAX)
        return lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: more than %d groups", r->path, map->line,
                          LATHE_TRAIN_GROUPS_MAX);
    lathe_train_group *g = &r->a->groups[r->a->n_groups++];
    *g = (lathe_train_group){.optim = lathe_optim_default(LATHE_OPTIM_ADAMW)};
    int32_t name = -1, scale = 0, ns = 0;
    const key first[] = {{"name", CHOICE, &name, NULL, lathe_train_optimizers}};
    const lathe_config_node *n = lathe_config_get(map, "name");
    if (map->kind != LATHE_CONFIG_MAP || n == NULL)
        return lathe_fail(r->err, LATHE_ERR_ARG,
                          "%s:%d: a group wants {match: PATTERN, name: OPTIMIZER}, and lr and the like",
                          r->path, map->line);
    lathe_status status = set(r, n, first);
    if (status != LATHE_OK)
        return status;
    g->optim = lathe_optim_default((lathe_optim_kind) name);
    g->optim.weight_decay = r->a->common.weight_decay;
    int64_t refresh = g->optim.refresh;
    const key keys[] = {{"match", TEXT, &g->match, NULL, NULL},
                        {"name", CHOICE, &name, NULL, lathe_train_optimizers},
                        {"lr", REAL, &g->lr, NULL, NULL},
                        {"weight_decay", REAL, &g->optim.weight_decay, NULL, NULL},
                        {"momentum", REAL, &g->optim.momentum, NULL, NULL},
                        {"dampening", REAL, &g->optim.dampening, NULL, NULL},
                        {"nesterov", TRUTH, &g->optim.nesterov, NULL, NULL},
                        {"decoupled", TRUTH, &g->optim.decoupled, NULL, NULL},
                        {"beta1", REAL, &g->optim.beta1, NULL, NULL},
                        {"beta2", REAL, &g->optim.beta2, NULL, NULL},
                        {"eps", REAL, &g->optim.eps, NULL, NULL},
                        {"ns", CHOICE, &ns, NULL, lathe_train_ns},
                        {"scale", CHOICE, &scale, NULL, scales},
                        {"refresh", INT, &refresh, NULL, NULL}};
    status = section(r, map, "a group", keys, LATHE_LEN(keys), NULL);
    g->optim.ns = (lathe_ns_kind) ns;
    g->optim.original_scale = scale == 1;
    g->optim.refresh = (int32_t) (refresh > 1000000 ? 1000000 : refresh);
    if (status == LATHE_OK && g->match == NULL)
        status =
            lathe_fail(r->err, LATHE_ERR_ARG, "%s:%d: a group wants 'match: PATTERN'", r->path, map->line);
    return status;
}

lathe_status lathe_train_sections(train_args *a, const struct lathe_config *config, const char *path,
                                  lathe_error *err) {
    reader r = {a, path, err};
    const lathe_config_node *root = lathe_config_root(config),
                            *optimizer = lathe_config_get(root, "optimizer");
    static const char *const sections[] = {"model", "data", "optimizer", NULL};
    for (const lathe_config_node *i = root->items; i != NULL; i = i->next) {
        bool known = i->kind != LATHE_CONFIG_MAP;
        for (size_t k = 0; sections[k] != NULL; k++)
            known = known || strcmp(i->key, sections[k]) == 0;
        const char *near = lathe_nearest_name(i->key, sections);
        if (!known)
            return lathe_fail(err, LATHE_ERR_ARG, "%s:%d: unknown section '%.60s'; %s%s", path, i->line,
                              i->key, near != NULL ? "did you mean " : "there are model, data, optimizer",
                              near != NULL ? near : "");
    }
    bool tied = !a->untied;
    const key model[] = {{"family", TEXT, &a->family, &a->seen.family, NULL},
                         {"arch", TEXT, &a->family, &a->seen.family, NULL},
                         {"shape", TEXT, &a->shape, &a->seen.shape, NULL},
                         {"name", TEXT, &a->common.name, &a->common.seen.name, NULL},
                         {"init", PATHS, &a->init, &a->seen.init, NULL},
                         {"n_layer", INT, &a->layers, &a->seen.layers, NULL},
                         {"n_embd", INT, &a->embd, &a->seen.embd, NULL},
                         {"n_head", INT, &a->heads, &a->seen.heads, NULL},
                         {"n_head_kv", INT, &a->heads_kv, &a->seen.heads_kv, NULL},
                         {"n_ff", INT, &a->ff, &a->seen.ff, NULL},
                         {"n_ctx", INT, &a->common.ctx, &a->common.seen.ctx, NULL},
                         {"ctx", INT, &a->common.ctx, &a->common.seen.ctx, NULL},
                         {"tied", TRUTH, &tied, &a->seen.untied, NULL}};
    const key data[] = {{"train", PATHS, &a->data, &a->seen.data, NULL},
                        {"eval", PATHS, &a->eval, &a->seen.eval, NULL},
                        {"tokenizer", PATHS, &a->tokenizer, &a->seen.tokenizer, NULL},
                        {"separator", TEXT, &a->separator, &a->seen.separator, NULL},
                        {"hold_out", REAL, &a->hold_out, &a->seen.hold_out, NULL},
                        {"attn_reset", TRUTH, &a->attn_reset, &a->seen.attn_reset, NULL},
                        {"seed", INT, &a->common.seed, &a->common.seen.seed, NULL}};
    const key optim[] = {{"name", CHOICE, &a->optimizer, &a->seen.optimizer, lathe_train_optimizers},
                         {"preset", CHOICE, &a->optimizer, &a->seen.optimizer, lathe_train_optimizers},
                         {"lr", REAL, &a->common.lr, &a->common.seen.lr, NULL},
                         {"lr_other", REAL, &a->lr_other, &a->seen.lr_other, NULL},
                         {"weight_decay", REAL, &a->common.weight_decay, &a->common.seen.weight_decay, NULL},
                         {"schedule", CHOICE, &a->schedule, &a->seen.schedule, lathe_train_schedules},
                         {"warmup", INT, &a->warmup, &a->seen.warmup, NULL},
                         {"clip", REAL, &a->common.clip, &a->common.seen.clip, NULL},
                         {"ema", REAL, &a->ema, &a->seen.ema, NULL}};
    lathe_status status =
        section(&r, lathe_config_get(root, "model"), "model", model, LATHE_LEN(model), NULL);
    a->untied = !tied;
    const lathe_config_node *d = lathe_config_get(root, "data");
    if (status == LATHE_OK && d != NULL && d->kind == LATHE_CONFIG_MAP)
        status = section(&r, d, "data", data, LATHE_LEN(data), NULL);
    if (status == LATHE_OK && optimizer != NULL && optimizer->kind == LATHE_CONFIG_MAP)
        status = section(&r, optimizer, "optimizer", optim, LATHE_LEN(optim), "groups");
    const lathe_config_node *groups = optimizer != NULL && optimizer->kind == LATHE_CONFIG_MAP
                                          ? lathe_config_get(optimizer, "groups")
                                          : NULL;
    if (status == LATHE_OK && groups != NULL && groups->kind != LATHE_CONFIG_LIST)
        return lathe_fail(err, LATHE_ERR_ARG, "%s:%d: groups want a list", path, groups->line);
    for (const lathe_config_node *i = groups != NULL ? groups->items : NULL; i != NULL && status == LATHE_OK;
         i = i->next)
        status = group(&r, i);
    return status;
}
