/* verb_info.c - `lathe info`: what a GGUF file is, tensor by tensor, and what it needs in memory. */
#include <stdlib.h>
#include <string.h>

#include <ggml-backend.h>

#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/shared_options.h"
#include "model/convert.h"
#include "model/desc.h"
#include "model/gguf.h"
#include "tensor/device.h"

typedef struct info_args {
    lathe_shared_args shared;
    bool check, families, devices, all;
} info_args;

#define AT(field) offsetof(info_args, field)
static const lathe_option options[] = {
    {.name = "check",
     .group = "info",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(check),
     .help = "scan all weights for NaN and infinity"},
    {.name = "families",
     .group = "info",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(families),
     .help = "list the families that can be run"},
    {.name = "devices",
     .group = "info",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(devices),
     .help = "list this machine's devices, and with --rpc the workers"},
    {.name = "all",
     .group = "info",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(all),
     .help = "print every tensor"},
};
static const lathe_option *const tables[] = {lathe_options_model, lathe_options_context, options};
static const size_t n_options[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_LEN(options)};

static void defaults(void *arguments) {
    lathe_shared_defaults(&((info_args *) arguments)->shared, 0);
}

/* --- Families and devices ------------------------------------------------------------------------ */

static lathe_status list_families(lathe_cli *cli) {
    json_t *list = json_array();
    for (size_t i = 0; lathe_family_at(i); i++) {
        json_array_append_new(list, json_string(lathe_family_at(i)->name));
        if (!cli->json)
            fprintf(cli->out, "%s\n", lathe_family_at(i)->name);
    }
    if (cli->json)
        json_object_set(cli->result, "families", list);
    json_decref(list);
    return LATHE_OK;
}

static void add_device(lathe_cli *cli, json_t *list, const char *name, const char *description,
                       int64_t free_bytes, int64_t total) {
    char free_text[32], total_text[32];
    lathe_format_bytes(free_bytes, free_text, sizeof free_text);
    lathe_format_bytes(total, total_text, sizeof total_text);
    if (!cli->json)
        fprintf(cli->out, "%-12s %s (%s%s%s free)\n", name, description, free_text, total > 0 ? " of " : "",
                total > 0 ? total_text : "");
    json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:I}", "name", lathe_json_string(name),
                                          "description", lathe_json_string(description), "memory_free_bytes",
                                          (json_int_t) free_bytes, "memory_total_bytes", (json_int_t) total));
}

/* Workers of "host:port,host:port". */
static lathe_status add_workers(lathe_cli *cli, json_t *list, const char *workers, lathe_error *err) {
    char *copy = strdup(workers);
    lathe_status st = copy ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    for (char *at = copy; at && !st;) {
        char *comma = strchr(at, ',');
        lathe_device *device = NULL;
        if (comma)
            *comma = '\0';
        st = lathe_device_open_remote(at, &device, err);
        if (!st)
            add_device(cli, list, at, "worker", lathe_device_memory_free(device), 0);
        lathe_device_free(device);
        at = comma ? comma + 1 : NULL;
    }
    free(copy);
    return st;
}

static lathe_status list_devices(lathe_cli *cli, const char *workers, lathe_error *err) {
    json_t *list = json_array();
    lathe_device_find_all();
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        size_t free_bytes = 0, total = 0;
        ggml_backend_dev_memory(dev, &free_bytes, &total);
        add_device(cli, list, ggml_backend_dev_name(dev), ggml_backend_dev_description(dev),
                   (int64_t) free_bytes, (int64_t) total);
    }
    const lathe_status st = workers ? add_workers(cli, list, workers, err) : LATHE_OK;
    if (!st && cli->json)
        json_object_set(cli->result, "devices", list);
    json_decref(list);
    return st;
}

/* --- Metadata ------------------------------------------------------------------------------------ */

enum { ARRAY_SHOWN = 64 };

static json_t *element_json(const lathe_gguf_array *a, uint64_t i) {
    if (a->type == LATHE_GGUF_F32 || a->type == LATHE_GGUF_F64)
        return lathe_json_real(lathe_gguf_array_real(a, i));
    if (a->type == LATHE_GGUF_BOOL)
        return json_boolean(lathe_gguf_array_int(a, i));
    return json_integer(lathe_gguf_array_int(a, i));
}

/* Long arrays are told by type and length. */
static json_t *value_json(const lathe_gguf_kv *kv) {
    const bool is_array = kv->type == LATHE_GGUF_ARRAY;
    const lathe_gguf_array a = {
        .type = is_array ? kv->array_type : kv->type, .n = kv->n, .data = kv->data, .n_bytes = kv->n_bytes};
    if (kv->type == LATHE_GGUF_STRING)
        return lathe_json_bytes((const char *) kv->data, (size_t) kv->n_bytes);
    if (!is_array)
        return element_json(&a, 0);
    if (kv->n > ARRAY_SHOWN) {
        json_t *summary = json_object();
        json_object_set_new(summary, "array_of", json_string(lathe_gguf_type_name(kv->array_type)));
        json_object_set_new(summary, "n", json_integer((json_int_t) kv->n));
        return summary;
    }
    json_t *list = json_array();
    lathe_gguf_strings it = lathe_gguf_strings_of(&a);
    const char *text;
    size_t n_bytes;
    while (lathe_gguf_strings_next(&it, &text, &n_bytes))
        json_array_append_new(list, lathe_json_bytes(text, n_bytes));
    for (uint64_t i = 0; a.type != LATHE_GGUF_STRING && i < a.n; i++)
        json_array_append_new(list, element_json(&a, i));
    return list;
}

static void print_metadata(const lathe_gguf *g, FILE *out) {
    for (size_t i = 0; i < lathe_gguf_n_kv(g); i++) {
        const lathe_gguf_kv *kv = lathe_gguf_kv_at(g, i);
        char shown[76], key[96];
        lathe_gguf_printable(kv->key, strlen(kv->key), key, sizeof key);
        if (kv->type == LATHE_GGUF_STRING) {
            fprintf(out, "  %-42s %s\n", key,
                    lathe_gguf_printable((const char *) kv->data, (size_t) kv->n_bytes, shown, sizeof shown));
        } else if (kv->type == LATHE_GGUF_ARRAY) {
            fprintf(out, "  %-42s [%llu x %s]\n", key, (unsigned long long) kv->n,
                    lathe_gguf_type_name(kv->array_type));
        } else {
            const lathe_gguf_array a = {.type = kv->type, .n = 1, .data = kv->data, .n_bytes = kv->n_bytes};
            if (kv->type == LATHE_GGUF_F32 || kv->type == LATHE_GGUF_F64)
                fprintf(out, "  %-42s %g\n", key, lathe_gguf_array_real(&a, 0));
            else if (kv->type == LATHE_GGUF_BOOL)
                fprintf(out, "  %-42s %s\n", key, lathe_gguf_array_int(&a, 0) ? "true" : "false");
            else
                fprintf(out, "  %-42s %lld\n", key, (long long) lathe_gguf_array_int(&a, 0));
        }
    }
}

/* --- Tensors ------------------------------------------------------------------------------------- */

static void shape_text(const lathe_gguf_tensor *t, char *out, size_t n_out) {
    size_t w = 0;
    out[0] = 0;
    for (int32_t d = 0; d < t->n_dims && w < n_out; d++)
        w += (size_t) snprintf(out + w, n_out - w, "%s%lld", d ? " x " : "", (long long) t->ne[d]);
}

static json_t *tensors_json(const lathe_gguf *g) {
    json_t *list = json_array();
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(g, i);
        json_t *one = json_object(), *shape = json_array();
        for (int32_t d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer(t->ne[d]));
        json_object_set_new(one, "name", lathe_json_string(t->name));
        json_object_set_new(one, "type", json_string(lathe_gguf_tensor_type_name(t->type)));
        json_object_set_new(one, "shape", shape);
        json_object_set_new(one, "bytes", json_integer((json_int_t) t->n_bytes));
        json_array_append_new(list, one);
    }
    return list;
}

static void print_tensors(const lathe_gguf *g, bool all, FILE *out) {
    enum { FIRST = 12 };
    const size_t n = lathe_gguf_n_tensors(g), n_shown = all || n <= FIRST + 2 ? n : FIRST;
    char shape[96], bytes[32], name[96];
    for (size_t i = 0; i < n_shown; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(g, i);
        shape_text(t, shape, sizeof shape);
        lathe_format_bytes((int64_t) t->n_bytes, bytes, sizeof bytes);
        fprintf(out, "  %-30s %-7s %-18s %s\n",
                lathe_gguf_printable(t->name, strlen(t->name), name, sizeof name),
                lathe_gguf_tensor_type_name(t->type), shape, bytes);
    }
    if (n_shown < n)
        fprintf(out, "  ... and %zu more (--all prints them)\n", n - n_shown);
}

/* --- Numbers of the model ------------------------------------------------------------------------ */

typedef struct numbers {
    const char *architecture;
    lathe_desc *desc; /* NULL: no model that we can run */
    int64_t n_params, weights_bytes, cache_bytes, n_ctx;
    char file_type[40];
} numbers;

/* Keys and values of every layer at the context, in the types asked for. */
static int64_t cache_bytes(const lathe_desc *desc, const lathe_context_params *context, int64_t n_ctx) {
    static const double bytes[] = {2, 4, 34.0 / 32, 18.0 / 32}; /* of a value, by lathe_cache_type */
    const double a_token = (double) desc->n_head_kv * (desc->n_embd_head_k * bytes[context->type_k] +
                                                       desc->n_embd_head_v * bytes[context->type_v]);
    return (int64_t) ((double) desc->n_layer * (double) n_ctx * a_token);
}

static lathe_status measure(const lathe_gguf *g, const info_args *args, lathe_cli *cli, numbers *n,
                            lathe_error *err) {
    lathe_context_params context;
    int64_t file_type = -1;
    lathe_status st = lathe_shared_context_params(&args->shared, &context, err);
    if (!st)
        st = lathe_gguf_text(g, "general.architecture", LATHE_GGUF_REQUIRED, &n->architecture, err);
    if (!st)
        st = lathe_gguf_int(g, "general.file_type", LATHE_GGUF_OPTIONAL, 0, 1 << 20, &file_type, err);
    if (st)
        return st;
    if (lathe_file_type_name(file_type))
        snprintf(n->file_type, sizeof n->file_type, "%s", lathe_file_type_name(file_type));
    else if (file_type >= 0)
        snprintf(n->file_type, sizeof n->file_type, "%lld", (long long) file_type);
    else
        snprintf(n->file_type, sizeof n->file_type, "unknown");
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++) {
        n->n_params += lathe_gguf_tensor_at(g, i)->n_values;
        n->weights_bytes += (int64_t) lathe_gguf_tensor_at(g, i)->n_bytes;
    }
    if (lathe_gguf_n_tensors(g) == 0)
        return LATHE_OK; /* a vocabulary */
    if (!lathe_family_find(n->architecture)) {
        char shown[64];
        lathe_log(&cli->logger, LATHE_LOG_WARN, "family '%s' cannot be run; those that can: %s",
                  lathe_gguf_printable(n->architecture, strlen(n->architecture), shown, sizeof shown),
                  lathe_family_names());
        return LATHE_OK;
    }
    n->desc = malloc(sizeof *n->desc);
    if (!n->desc)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model's description");
    st = lathe_desc_from_gguf(g, n->desc, err);
    if (!st)
        st = lathe_desc_check(n->desc, g, NULL, err);
    if (st)
        return st;
    n->n_ctx = args->shared.n_ctx > 0 ? args->shared.n_ctx : n->desc->n_ctx_train;
    n->cache_bytes = cache_bytes(n->desc, &context, n->n_ctx);
    return LATHE_OK;
}

static json_t *number_or_null(const lathe_desc *desc, int64_t n) {
    return desc ? json_integer(n) : json_null();
}

static void fill_json(const lathe_gguf *g, const numbers *n, json_t *out) {
    static const lathe_desc none;
    const lathe_desc *d = n->desc ? n->desc : &none;
    json_t *metadata = json_object();
    for (size_t i = 0; i < lathe_gguf_n_kv(g); i++)
        json_object_set_new(metadata, lathe_gguf_kv_at(g, i)->key, value_json(lathe_gguf_kv_at(g, i)));
    json_object_set_new(out, "file", lathe_json_string(lathe_gguf_path(g)));
    json_object_set_new(out, "bytes", json_integer((json_int_t) lathe_gguf_size(g)));
    json_object_set_new(out, "architecture", lathe_json_string(n->architecture));
    json_object_set_new(out, "n_params", json_integer(n->n_params));
    json_object_set_new(out, "n_layer", number_or_null(n->desc, d->n_layer));
    json_object_set_new(out, "n_embd", number_or_null(n->desc, d->n_embd));
    json_object_set_new(out, "n_head", number_or_null(n->desc, d->n_head));
    json_object_set_new(out, "n_head_kv", number_or_null(n->desc, d->n_head_kv));
    json_object_set_new(out, "n_vocab", number_or_null(n->desc, d->n_vocab));
    json_object_set_new(out, "n_ctx_train", number_or_null(n->desc, d->n_ctx_train));
    json_object_set_new(out, "file_type", json_string(n->file_type));
    json_object_set_new(out, "weights_bytes", json_integer(n->weights_bytes));
    json_object_set_new(out, "n_ctx", number_or_null(n->desc, n->n_ctx));
    json_object_set_new(out, "cache_bytes", number_or_null(n->desc, n->cache_bytes));
    json_object_set_new(out, "tensors", tensors_json(g));
    json_object_set_new(out, "metadata", metadata);
}

static void print_text(const lathe_gguf *g, const numbers *n, bool all, FILE *out) {
    char a[32], b[32], name[64];
    lathe_format_bytes((int64_t) lathe_gguf_size(g), a, sizeof a);
    lathe_format_count(n->n_params, b, sizeof b);
    fprintf(out, "%s\n  GGUF version %u, %s, %s\n", lathe_gguf_path(g), lathe_gguf_version(g), a,
            lathe_gguf_printable(n->architecture, strlen(n->architecture), name, sizeof name));
    fprintf(out, "  %s parameters in %zu tensors, mostly %s\n", b, lathe_gguf_n_tensors(g), n->file_type);
    if (n->desc) {
        const lathe_desc *d = n->desc;
        fprintf(out,
                "  %d layers, width %d, %d heads (%d for keys) of %d, feed-forward %d, %d tokens, trained at "
                "context %d\n",
                d->n_layer, d->n_embd, d->n_head, d->n_head_kv, d->n_embd_head_k, d->n_ff, d->n_vocab,
                d->n_ctx_train);
        lathe_format_bytes(n->weights_bytes, a, sizeof a);
        lathe_format_bytes(n->cache_bytes, b, sizeof b);
        fprintf(out, "  memory: weights %s + cache %s at context %lld (-c, --cache-type)\n", a, b,
                (long long) n->n_ctx);
    }
    fprintf(out, "metadata\n");
    print_metadata(g, out);
    if (lathe_gguf_n_tensors(g) > 0)
        fprintf(out, "tensors\n");
    print_tensors(g, all, out);
}

/* --- The verb ------------------------------------------------------------------------------------ */

static lathe_status check_values(const lathe_gguf *g, const info_args *args, lathe_cli *cli,
                                 lathe_error *err) {
    lathe_pool *pool = NULL;
    const int64_t n_threads = args->shared.n_threads > 0 ? args->shared.n_threads : lathe_n_cores();
    lathe_status st = lathe_pool_new((int) n_threads, &pool, err);
    if (!st)
        st = lathe_gguf_check_values(g, pool, &cli->progress, err);
    lathe_pool_free(pool);
    if (!st && cli->json)
        json_object_set_new(cli->result, "check", json_string("ok"));
    else if (!st)
        fprintf(cli->out, "check: all values of all tensors are finite\n");
    return st;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const info_args *args = arguments;
    if (args->families)
        return list_families(cli);
    if (args->devices)
        return list_devices(cli, args->shared.rpc, err);
    const char *path = cli->n_positional ? cli->positional[0] : args->shared.model;
    if (!path || cli->n_positional > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%s; want -m FILE.gguf, --families or --devices",
                          path ? "more than one file" : "no model");
    const lathe_gguf_params params = {.no_mmap = args->shared.no_mmap, .logger = cli->logger};
    lathe_gguf *g = NULL;
    numbers n = {0};
    lathe_status st = lathe_gguf_open(path, &params, &g, err);
    if (!st)
        st = measure(g, args, cli, &n, err);
    if (!st && cli->json)
        fill_json(g, &n, cli->result);
    else if (!st)
        print_text(g, &n, args->all, cli->out);
    if (!st && args->check)
        st = check_values(g, args, cli, err);
    free(n.desc);
    lathe_gguf_close(g);
    return st;
}

extern const lathe_verb lathe_verb_info;
const lathe_verb lathe_verb_info = {
    .name = "info",
    .summary = "what a model file is, and the memory it needs",
    .usage = "lathe info -m FILE.gguf [--check] | --families | --devices",
    .examples = "lathe info -m model.gguf -c 8192 --cache-type q8_0",
    .schema = "lathe.info/1",
    .options = {tables, n_options, 3},
    .args_size = sizeof(info_args),
    .defaults = defaults,
    .run = run,
};
