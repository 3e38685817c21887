/* option.c - see option.h. */
#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/text.h"

enum { NAME_LIMIT = 512 };

/* A string that the parse made; freed with it. */
typedef struct kept_text {
    struct kept_text *before;
    char text[];
} kept_text;

typedef struct parse {
    const lathe_option_target *targets;
    size_t n_targets;
    lathe_options_parsed *out;
} parse;

const lathe_option *lathe_option_at(const lathe_option_set *set, size_t i) {
    for (size_t t = 0; t < set->n_tables; t++) {
        if (i < set->n_options[t])
            return &set->tables[t][i];
        i -= set->n_options[t];
    }
    return NULL;
}

static char *keep(parse *p, size_t n_bytes) {
    kept_text *k = malloc(sizeof *k + n_bytes + 1);
    if (!k)
        return NULL;
    k->before = p->out->memory;
    p->out->memory = k;
    k->text[n_bytes] = '\0';
    return k->text;
}

static bool has_alias(const lathe_option *o, const char *name) {
    for (size_t i = 0; o->aliases && o->aliases[i]; i++)
        if (strcmp(o->aliases[i], name) == 0)
            return true;
    return false;
}

/* Finds an option by long name ('_' for '-' where loose) or by short name; *target gets its struct. */
static const lathe_option *find(const parse *p, const char *name, bool is_short, void **args) {
    for (size_t t = 0; t < p->n_targets; t++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(p->targets[t].set, i)) != NULL; i++) {
            const bool hit = is_short ? o->short_name && strcmp(o->short_name, name) == 0
                                      : strcmp(o->name, name) == 0 || has_alias(o, name);
            if (hit) {
                *args = p->targets[t].args;
                return o;
            }
        }
    }
    return NULL;
}

static const char *nearest(const parse *p, const char *name) {
    const char *names[NAME_LIMIT + 1];
    size_t n = 0;
    for (size_t t = 0; t < p->n_targets; t++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(p->targets[t].set, i)) != NULL && n < NAME_LIMIT; i++)
            names[n++] = o->name;
    }
    names[n] = NULL;
    return lathe_nearest_name(name, names);
}

static lathe_status unknown(const parse *p, const char *shown, const char *name, lathe_error *err) {
    const char *near = nearest(p, name);
    if (near)
        return lathe_fail(err, LATHE_ERR_ARG, "unknown option %.100s; did you mean --%s?", shown, near);
    return lathe_fail(err, LATHE_ERR_ARG, "unknown option %.100s; --help lists the options", shown);
}

/* A bound as people write it: 100000 rather than 1e+05. */
static void format_bound(const lathe_option *o, double bound, char *out, size_t n_out) {
    if (o->kind == LATHE_OPTION_REAL)
        lathe_format_double(bound, out, n_out);
    else {
        const int k = snprintf(out, n_out, "%.0f", bound);
        if (k < 0)
            out[0] = '\0';
    }
}

static lathe_status set_number(const lathe_option *o, void *field, const char *value, const char *shown,
                               lathe_error *err) {
    char low[32], high[32];
    format_bound(o, o->min, low, sizeof low);
    format_bound(o, o->max, high, sizeof high);
    const bool ranged = o->min != 0 || o->max != 0;
    double x = 0;
    int64_t n = 0;
    bool good;
    if (o->kind == LATHE_OPTION_REAL) {
        char copy[64];
        const size_t length = strlen(value);
        const bool per_cent = o->percent && length > 1 && length < sizeof copy && value[length - 1] == '%';
        if (per_cent) {
            memcpy(copy, value, length - 1);
            copy[length - 1] = '\0';
        }
        good = lathe_parse_real(per_cent ? copy : value, &x);
        x = per_cent ? x / 100 : x;
    } else {
        good = o->kind == LATHE_OPTION_BYTES ? lathe_parse_bytes(value, &n) : lathe_parse_int(value, &n);
        x = (double) n;
    }
    if (!good)
        return lathe_fail(err, LATHE_ERR_ARG, "%s %.100s: not %s", shown, value,
                          o->kind == LATHE_OPTION_REAL ? "a number" : "a whole number");
    if (ranged && (x < o->min || x > o->max)) {
        if (o->max >= 2147483647.0)
            return lathe_fail(err, LATHE_ERR_ARG, "%s %.100s: must be at least %s", shown, value, low);
        return lathe_fail(err, LATHE_ERR_ARG, "%s %.100s: must be between %s and %s", shown, value, low,
                          high);
    }
    if (o->kind == LATHE_OPTION_REAL)
        memcpy(field, &x, sizeof x);
    else
        memcpy(field, &n, sizeof n);
    return LATHE_OK;
}

static lathe_status set_choice(const lathe_option *o, void *field, const char *value, const char *shown,
                               lathe_error *err) {
    for (int32_t i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], value) == 0) {
            memcpy(field, &i, sizeof i);
            return LATHE_OK;
        }
    }
    char list[320] = "";
    size_t n = 0;
    for (size_t i = 0; o->choices[i]; i++) {
        const int k = snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", o->choices[i]);
        if (k < 0 || (size_t) k >= sizeof list - n)
            break;
        n += (size_t) k;
    }
    const char *near = lathe_nearest_name(value, o->choices);
    if (near)
        return lathe_fail(err, LATHE_ERR_ARG, "%s %.100s: did you mean %s? It is one of %s", shown, value,
                          near, list);
    return lathe_fail(err, LATHE_ERR_ARG, "%s %.100s: must be one of %s", shown, value, list);
}

static lathe_status set_flag(void *field, const char *value, const char *shown, lathe_error *err) {
    static const char *const yes[] = {"true", "on", "yes", "1"};
    static const char *const no[] = {"false", "off", "no", "0"};
    for (size_t i = 0; i < LATHE_LEN(yes); i++) {
        const bool on = strcmp(value, yes[i]) == 0;
        if (on || strcmp(value, no[i]) == 0) {
            memcpy(field, &on, sizeof on);
            return LATHE_OK;
        }
    }
    return lathe_fail(err, LATHE_ERR_ARG, "%s=%.100s: must be true or false", shown, value);
}

static lathe_status set_list(parse *p, const lathe_option *o, void *field, const char *value, bool joins,
                             lathe_error *err) {
    const char *before;
    memcpy(&before, field, sizeof before);
    if (joins && o->repeat && before && *before) {
        const size_t n0 = strlen(before), n1 = strlen(value);
        char *both = keep(p, n0 + 1 + n1);
        if (!both)
            return lathe_fail(err, LATHE_ERR_MEMORY, "--%s: no memory", o->name);
        memcpy(both, before, n0);
        both[n0] = ',';
        memcpy(both + n0 + 1, value, n1);
        value = both;
    }
    memcpy(field, &value, sizeof value);
    return LATHE_OK;
}

/* Writes one value; shown is how the user wrote the option ("--top-p", "LATHE_THREADS", "x.yaml:3: top-p").
 * joins: a repeated list adds to what this source gave before. */
static lathe_status set_value(parse *p, const lathe_option *o, void *args, const char *value,
                              const char *shown, bool joins, lathe_error *err) {
    char *field = (char *) args + o->offset;
    lathe_status st = LATHE_OK;
    switch (o->kind) {
    case LATHE_OPTION_FLAG:
        st = set_flag(field, value, shown, err);
        break;
    case LATHE_OPTION_INT:
    case LATHE_OPTION_BYTES:
    case LATHE_OPTION_REAL:
        st = set_number(o, field, value, shown, err);
        break;
    case LATHE_OPTION_CHOICE:
        st = set_choice(o, field, value, shown, err);
        break;
    case LATHE_OPTION_LIST:
        st = set_list(p, o, field, value, joins, err);
        break;
    case LATHE_OPTION_TEXT:
    case LATHE_OPTION_FILE:
        memcpy(field, &value, sizeof value);
        break;
    }
    if (!st && o->seen_offset) {
        const bool seen = true;
        memcpy((char *) args + o->seen_offset, &seen, sizeof seen);
    }
    return st;
}

/* --- The three sources --------------------------------------------------------------------------- */

/* A configuration's list as one comma-separated text; NULL: no memory or no list of scalars. */
static const char *join_items(parse *p, const lathe_config_node *node) {
    size_t n = 0;
    for (const lathe_config_node *item = node->items; item; item = item->next) {
        if (item->kind != LATHE_CONFIG_SCALAR)
            return NULL;
        n += strlen(item->value) + 1;
    }
    char *text = keep(p, n);
    if (!text)
        return NULL;
    char *at = text;
    for (const lathe_config_node *item = node->items; item; item = item->next) {
        const size_t k = strlen(item->value);
        memcpy(at, item->value, k);
        at += k;
        if (item->next)
            *at++ = ',';
    }
    *at = '\0';
    return text;
}

static lathe_status from_config(parse *p, const char *path, lathe_error *err) {
    lathe_status st = lathe_config_read(path, &p->out->config, err);
    if (st)
        return st;
    const lathe_config_node *root = lathe_config_root(p->out->config);
    for (const lathe_config_node *item = root->items; item; item = item->next) {
        if (item->kind == LATHE_CONFIG_MAP)
            continue; /* a structured section: the verb's own business */
        char name[64];
        const size_t n = strlen(item->key);
        void *args = NULL;
        const lathe_option *o = NULL;
        if (n < sizeof name) {
            for (size_t i = 0; i <= n; i++)
                name[i] = item->key[i] == '_' ? '-' : item->key[i];
            o = find(p, name, false, &args);
        }
        if (!o) {
            const char *near = n < sizeof name ? nearest(p, name) : NULL;
            return near ? lathe_fail(err, LATHE_ERR_ARG, "%s:%d: unknown key '%.60s'; did you mean '%s'?",
                                     path, item->line, item->key, near)
                        : lathe_fail(err, LATHE_ERR_ARG, "%s:%d: unknown key '%.60s'", path, item->line,
                                     item->key);
        }
        const char *value = item->kind == LATHE_CONFIG_LIST ? join_items(p, item) : item->value;
        if (!value)
            return lathe_fail(err, LATHE_ERR_ARG, "%s:%d: '%s' needs a plain list", path, item->line,
                              item->key);
        char shown[256];
        const int k = snprintf(shown, sizeof shown, "%.120s:%d: %s", path, item->line, name);
        st = set_value(p, o, args, value, k > 0 ? shown : name, false, err);
        if (st)
            return st;
    }
    return LATHE_OK;
}

static lathe_status from_environment(parse *p, lathe_error *err) {
    for (size_t t = 0; t < p->n_targets; t++) {
        const lathe_option *o;
        for (size_t i = 0; (o = lathe_option_at(p->targets[t].set, i)) != NULL; i++) {
            const char *value = o->env ? getenv(o->env) : NULL;
            if (!value || !*value)
                continue;
            const lathe_status st = set_value(p, o, p->targets[t].args, value, o->env, false, err);
            if (st)
                return st;
        }
    }
    return LATHE_OK;
}

/* "--name", "--name=value", "--no-name"; *i moves over a value of its own. */
static lathe_status long_option(parse *p, int argc, char **argv, int *i, lathe_error *err) {
    const char *text = argv[*i] + 2;
    const char *equals = strchr(text, '=');
    char name[64], shown[72];
    const size_t n = equals ? (size_t) (equals - text) : strlen(text);
    if (n == 0 || n >= sizeof name)
        return lathe_fail(err, LATHE_ERR_ARG, "unknown option %.100s; --help lists the options", argv[*i]);
    memcpy(name, text, n);
    name[n] = '\0';
    const int k = snprintf(shown, sizeof shown, "--%s", name);
    if (k < 0)
        return LATHE_ERR_INTERNAL;
    void *args = NULL;
    const lathe_option *o = find(p, name, false, &args);
    const char *value = equals ? equals + 1 : NULL;
    if (!o && strncmp(name, "no-", 3) == 0) {
        o = find(p, name + 3, false, &args);
        if (o && o->kind == LATHE_OPTION_FLAG && !value)
            return set_value(p, o, args, "false", shown, true, err);
        o = NULL;
    }
    if (!o)
        return unknown(p, shown, name, err);
    if (!value && o->kind == LATHE_OPTION_FLAG)
        value = "true";
    if (!value) {
        if (*i + 1 >= argc)
            return lathe_fail(err, LATHE_ERR_ARG, "%s needs a value: %s %s", shown, shown,
                              o->arg ? o->arg : "VALUE");
        value = argv[++*i];
    }
    return set_value(p, o, args, value, shown, true, err);
}

static lathe_status short_option(parse *p, int argc, char **argv, int *i, lathe_error *err) {
    const char *shown = argv[*i];
    void *args = NULL;
    const lathe_option *o = find(p, shown + 1, true, &args);
    if (!o)
        return unknown(p, shown, shown + 1, err);
    if (o->kind == LATHE_OPTION_FLAG)
        return set_value(p, o, args, "true", shown, true, err);
    if (*i + 1 >= argc)
        return lathe_fail(err, LATHE_ERR_ARG, "%s needs a value: %s %s", shown, shown,
                          o->arg ? o->arg : "VALUE");
    return set_value(p, o, args, argv[++*i], shown, true, err);
}

const char *lathe_options_peek(int argc, char **argv, const char *name) {
    const char *found = NULL;
    const size_t n = strlen(name);
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, name, n) != 0)
            continue;
        if (argv[i][2 + n] == '=')
            found = argv[i] + 3 + n;
        else if (argv[i][2 + n] == '\0' && i + 1 < argc)
            found = argv[i + 1];
    }
    return found;
}

lathe_status lathe_options_parse(const lathe_option_target *targets, size_t n_targets,
                                 const char *config_path, int argc, char **argv, lathe_options_parsed *parsed,
                                 lathe_error *err) {
    parse p = {.targets = targets, .n_targets = n_targets, .out = parsed};
    *parsed = (lathe_options_parsed){0};
    parsed->positional = calloc((size_t) argc + 1, sizeof *parsed->positional);
    if (!parsed->positional)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d arguments", argc);
    lathe_status st = config_path ? from_config(&p, config_path, err) : LATHE_OK;
    if (!st)
        st = from_environment(&p, err);
    bool options_ended = false;
    for (int i = 0; i < argc && !st; i++) {
        const char *a = argv[i];
        if (options_ended || a[0] != '-' || a[1] == '\0')
            parsed->positional[parsed->n_positional++] = a;
        else if (strcmp(a, "--") == 0)
            options_ended = true;
        else if (a[1] == '-')
            st = long_option(&p, argc, argv, &i, err);
        else
            st = short_option(&p, argc, argv, &i, err);
    }
    return st;
}

void lathe_options_free(lathe_options_parsed *parsed) {
    kept_text *k = parsed->memory;
    while (k) {
        kept_text *before = k->before;
        free(k);
        k = before;
    }
    lathe_config_free(parsed->config);
    free(parsed->positional);
    *parsed = (lathe_options_parsed){0};
}

/* --- --print-config ------------------------------------------------------------------------------ */

/* A text as a double-quoted YAML scalar. */
static lathe_status print_quoted(const char *text, lathe_buf *out, lathe_error *err) {
    lathe_status st = lathe_buf_text(out, "\"", err);
    for (; *text && !st; text++) {
        const unsigned char c = (unsigned char) *text;
        if (c == '"' || c == '\\')
            st = lathe_buf_printf(out, err, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            st = lathe_buf_printf(out, err, "\\x%02x", c);
        else
            st = lathe_buf_add(out, text, 1, err);
    }
    return st ? st : lathe_buf_text(out, "\"", err);
}

static lathe_status print_option(const lathe_option *o, const void *args, lathe_buf *out, lathe_error *err) {
    const char *field = (const char *) args + o->offset;
    char text[64];
    int64_t n;
    int32_t choice;
    double x;
    bool flag;
    const char *s;
    lathe_status st;
    switch (o->kind) {
    case LATHE_OPTION_FLAG:
        memcpy(&flag, field, sizeof flag);
        return lathe_buf_printf(out, err, "%s: %s\n", o->name, flag ? "true" : "false");
    case LATHE_OPTION_INT:
    case LATHE_OPTION_BYTES:
        memcpy(&n, field, sizeof n);
        return lathe_buf_printf(out, err, "%s: %lld\n", o->name, (long long) n);
    case LATHE_OPTION_REAL:
        memcpy(&x, field, sizeof x);
        lathe_format_double(x, text, sizeof text);
        return lathe_buf_printf(out, err, "%s: %s\n", o->name, text);
    case LATHE_OPTION_CHOICE:
        memcpy(&choice, field, sizeof choice);
        return lathe_buf_printf(out, err, "%s: %s\n", o->name, o->choices[choice]);
    default:
        memcpy(&s, field, sizeof s);
        if (!s)
            return lathe_buf_printf(out, err, "# %s:\n", o->name);
        st = lathe_buf_printf(out, err, "%s: ", o->name);
        if (!st)
            st = print_quoted(s, out, err);
        return st ? st : lathe_buf_text(out, "\n", err);
    }
}

lathe_status lathe_options_print(const lathe_option_target *targets, size_t n_targets, lathe_buf *out,
                                 lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (size_t t = 0; t < n_targets && !st; t++) {
        const lathe_option *o;
        for (size_t i = 0; !st && (o = lathe_option_at(targets[t].set, i)) != NULL; i++)
            st = print_option(o, targets[t].args, out, err);
    }
    return st;
}
