/* kv_policy_file.c - cache policies in JSON (attention.md C.f): a rule for all layers, and layers with their
 * own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/kv.h"

enum { FILE_MAX = 4 << 20 };

static const char *const top_keys[] = {"format", "version", "model", "default", "layers", "measured", NULL};
static const char *const model_keys[] = {"arch", "n_layer", "n_head_kv", "tensor_hash", NULL};
static const char *const rule_keys[] = {"layer", "kind", "sink", "recent", "heads", NULL};

static lathe_status only_keys(json_t *object, const char *const *known, const char *what, const char *path,
                              lathe_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %s is no JSON object", path, what);
    json_object_foreach(object, key, value) {
        bool found = false;
        for (size_t i = 0; known[i] != NULL && !found; i++)
            found = strcmp(key, known[i]) == 0;
        if (!found)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: unknown key '%.60s' in %s", path, key, what);
    }
    return LATHE_OK;
}

/* An integer of a small range; absent: `otherwise`. */
static lathe_status number(const json_t *object, const char *key, int32_t otherwise, int32_t *out,
                           const char *path, lathe_error *err) {
    const json_t *value = json_object_get(object, key);
    *out = otherwise;
    if (value == NULL)
        return LATHE_OK;
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || n > INT32_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: '%s' is no whole number from 0 on", path, key);
    *out = (int32_t) n;
    return LATHE_OK;
}

static lathe_status read_rule(const json_t *object, const char *path, lathe_kv_rule *rule, lathe_error *err) {
    const char *kind = json_string_value(json_object_get(object, "kind"));
    *rule = (lathe_kv_rule){.kind = LATHE_KV_FULL};
    if (json_object_get(object, "heads") != NULL)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: rules of single heads are not followed yet, only of layers", path);
    if (kind == NULL)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a rule without a 'kind'", path);
    if (strcmp(kind, "full") == 0)
        return LATHE_OK;
    if (strcmp(kind, "stream") != 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s: kind '%.40s'; full and stream are right", path,
                          kind);
    rule->kind = LATHE_KV_STREAM;
    lathe_status status = number(object, "sink", 0, &rule->sink, path, err);
    if (status == LATHE_OK)
        status = number(object, "recent", 0, &rule->recent, path, err);
    return status;
}

static lathe_status check_model(const lathe_desc *desc, json_t *model, const char *path, lathe_error *err) {
    int32_t n_layer = desc->n_layer, n_head_kv = desc->n_head_kv;
    const char *arch = json_string_value(json_object_get(model, "arch"));
    lathe_status status = only_keys(model, model_keys, "'model'", path, err);
    if (status == LATHE_OK)
        status = number(model, "n_layer", n_layer, &n_layer, path, err);
    if (status == LATHE_OK)
        status = number(model, "n_head_kv", n_head_kv, &n_head_kv, path, err);
    if (status != LATHE_OK)
        return status;
    if (n_layer != desc->n_layer)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: policy is for %d layers, model has %d", path, n_layer,
                          desc->n_layer);
    if (n_head_kv != desc->n_head_kv)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: policy is for %d KV heads, model has %d", path,
                          n_head_kv, desc->n_head_kv);
    if (arch != NULL && strcmp(arch, desc->family->name) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: policy is for family %.40s, model is %s", path, arch,
                          desc->family->name);
    return LATHE_OK;
}

static lathe_status read_layers(const lathe_desc *desc, const json_t *layers, const char *path,
                                lathe_kv_policy *p, lathe_error *err) {
    bool seen[LATHE_DESC_LAYERS_MAX] = {false};
    size_t i;
    json_t *item;
    if (layers != NULL && !json_is_array(layers))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: 'layers' is no list", path);
    json_array_foreach(layers, i, item) {
        int32_t layer;
        lathe_kv_rule rule;
        lathe_status status = only_keys(item, rule_keys, "a rule of 'layers'", path, err);
        if (status == LATHE_OK)
            status = number(item, "layer", -1, &layer, path, err);
        if (status != LATHE_OK)
            return status;
        if (layer < 0 || layer >= desc->n_layer)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: layer %d; 0 to %d is right", path, layer,
                              desc->n_layer - 1);
        if (seen[layer])
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: layer %d has two rules", path, layer);
        seen[layer] = true;
        status = read_rule(item, path, &rule, err);
        if (status == LATHE_OK)
            status = lathe_kv_policy_set(desc, layer, rule, p, err);
        if (status != LATHE_OK)
            return status;
    }
    return LATHE_OK;
}

/* FNV-1a over what layers do. */
static void name_policy(const lathe_desc *desc, lathe_kv_policy *p) {
    uint64_t hash = 14695981039346656037u;
    for (int32_t l = 0; l < desc->n_layer; l++) {
        const lathe_kv_rule *r = &p->rules[p->group[l]];
        const int32_t values[] = {(int32_t) r->kind, r->sink, r->recent};
        for (size_t i = 0; i < LATHE_LEN(values); i++)
            hash = (hash ^ (uint64_t) (uint32_t) values[i]) * 1099511628211u;
    }
    snprintf(p->name, sizeof p->name, "file %016" PRIx64, hash);
}

lathe_status lathe_kv_policy_read(const lathe_desc *desc, const char *path, lathe_kv_policy *policy,
                                  lathe_error *err) {
    lathe_kv_policy p = {.n_groups = 1};
    json_t *all = NULL;
    lathe_status status = lathe_json_read(path, FILE_MAX, &all, err);
    if (status != LATHE_OK)
        return status;
    status = only_keys(all, top_keys, "the policy", path, err);
    const char *format = json_string_value(json_object_get(all, "format"));
    if (status == LATHE_OK && (format == NULL || strcmp(format, "lathe-policy") != 0 ||
                               json_integer_value(json_object_get(all, "version")) != 1))
        status = lathe_fail(err, LATHE_ERR_INPUT,
                            "%s: no cache policy ('format' is \"lathe-policy\", 'version' 1)", path);
    json_t *model = json_object_get(all, "model"), *common = json_object_get(all, "default");
    if (status == LATHE_OK && model != NULL)
        status = check_model(desc, model, path, err);
    if (status == LATHE_OK && common != NULL) {
        lathe_kv_rule rule;
        status = only_keys(common, rule_keys, "'default'", path, err);
        if (status == LATHE_OK)
            status = read_rule(common, path, &rule, err);
        for (int32_t l = 0; l < desc->n_layer && status == LATHE_OK; l++)
            status = lathe_kv_policy_set(desc, l, rule, &p, err);
    }
    if (status == LATHE_OK)
        status = read_layers(desc, json_object_get(all, "layers"), path, &p, err);
    json_decref(all);
    if (status != LATHE_OK)
        return status;
    name_policy(desc, &p);
    *policy = p;
    return LATHE_OK;
}
