/* spec_table.c - see spec_table.h. Small JSON under a name made of all that the tables depend on. */
#include "decode/spec_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"

enum {
    FILE_LIMIT = 1 << 18,
    DAYS_KEPT = 30,
    WRITE_AFTER_ROUNDS = 64,
    DEPTH_KEPT = 32,
    COUNT_LIMIT = 1 << 20
};

static void make_key(const lathe_spec *s, bool sampled, char key[17]) {
    lathe_sha256 hash;
    uint8_t digest[32];
    const char *parts[LATHE_SPEC_SOURCES_MAX + 4] = {s->cost.key, s->controller->name, s->verifier->name,
                                                     sampled ? "sampled" : "greedy"};
    int32_t n = 4;
    for (int32_t i = 0; i < s->set.n_sources; i++)
        parts[n++] = s->set.source[i];
    lathe_sha256_begin(&hash);
    for (int32_t i = 0; i < n; i++)
        lathe_sha256_add(&hash, parts[i], strlen(parts[i]) + 1);
    lathe_sha256_end(&hash, digest);
    for (int i = 0; i < 8; i++)
        snprintf(key + 2 * i, 3, "%02x", digest[i]);
}

/* --- Counts as lists ----------------------------------------------------------------------------- */

static json_t *list_of(const double *x, int32_t n) {
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++)
        json_array_append_new(list, json_real(x[i]));
    return list;
}

/* right[i] of reached[i], n of each; false: not such a pair of lists. */
static bool take_counts(const json_t *o, double *reached, double *right, int32_t n) {
    const json_t *a = json_object_get(o, "reached"), *b = json_object_get(o, "right");
    if (json_array_size(a) != (size_t) n || json_array_size(b) != (size_t) n)
        return false;
    for (int32_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(a, (size_t) i), *y = json_array_get(b, (size_t) i);
        if (!json_is_number(x) || !json_is_number(y))
            return false;
        reached[i] = json_number_value(x);
        right[i] = json_number_value(y);
        if (!(right[i] >= 0.0 && right[i] <= reached[i] && reached[i] <= COUNT_LIMIT))
            return false;
    }
    return true;
}

static int32_t kept_depth(const lathe_spec_arm *arm) {
    return arm->length < DEPTH_KEPT ? arm->length : DEPTH_KEPT;
}

/* --- Reading ------------------------------------------------------------------------------------- */

/* With `take` false only looks whether all is well, so that a bad file changes nothing. */
static bool read_sources(lathe_spec *s, const json_t *list, bool take) {
    if (json_array_size(list) != (size_t) s->set.n_sources)
        return false;
    for (int32_t i = 0; i < s->set.n_sources; i++) {
        const json_t *o = json_array_get(list, (size_t) i);
        const double usual = json_number_value(json_object_get(o, "usual"));
        double reached[LATHE_SOURCE_BINS], right[LATHE_SOURCE_BINS];
        if (!take_counts(o, reached, right, LATHE_SOURCE_BINS) || !(usual >= 0.0 && usual <= 1.0))
            return false;
        if (!take)
            continue;
        memcpy(s->source[i].reached, reached, sizeof reached);
        memcpy(s->source[i].right, right, sizeof right);
        s->source[i].usual = usual;
    }
    return true;
}

static bool read_arms(lathe_spec *s, const json_t *list, bool take) {
    if (json_array_size(list) != (size_t) s->set.n_arms)
        return false;
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        double reached[DEPTH_KEPT], right[DEPTH_KEPT];
        const int32_t n = kept_depth(&s->set.arm[i]);
        if (!take_counts(json_array_get(list, (size_t) i), reached, right, n))
            return false;
        if (take && s->controller->counts && n > 0)
            s->controller->counts(s->controller_state, i, reached, right, n, true);
    }
    return true;
}

static void read_table(lathe_spec *s) {
    json_t *file = NULL;
    if (lathe_json_read(s->table_path, FILE_LIMIT, &file, NULL) != LATHE_OK)
        return;
    const char *schema = json_string_value(json_object_get(file, "schema"));
    const json_int_t created = json_integer_value(json_object_get(file, "created")),
                     now = (json_int_t) time(NULL);
    const json_t *sources = json_object_get(file, "sources"), *arms = json_object_get(file, "arms");
    const bool good = schema && strcmp(schema, "lathe.arms/1") == 0 && created <= now &&
                      now - created < DAYS_KEPT * 86400 && read_sources(s, sources, false) &&
                      read_arms(s, arms, false);
    if (good)
        (void) (read_sources(s, sources, true) && read_arms(s, arms, true));
    json_decref(file);
}

void lathe_spec_table_open(lathe_spec *s, bool sampled) {
    char key[17];
    if (!s->cache_dir || s->cost.measured.assumed || s->set.n_sources == 0)
        return;
    make_key(s, sampled, key);
    const size_t n = strlen(s->cache_dir) + 64;
    char *path = malloc(n);
    if (!path)
        return;
    snprintf(path, n, "%s/arms", s->cache_dir);
    if (lathe_folder_make(path, NULL) != LATHE_OK) {
        free(path);
        return;
    }
    snprintf(path, n, "%s/arms/%s.json", s->cache_dir, key);
    free(s->table_path);
    s->table_path = path;
    read_table(s);
}

/* --- Writing ------------------------------------------------------------------------------------- */

void lathe_spec_table_close(lathe_spec *s) {
    if (!s->table_path || s->rounds_ever < WRITE_AFTER_ROUNDS)
        return;
    json_t *sources = json_array(), *arms = json_array();
    for (int32_t i = 0; i < s->set.n_sources; i++)
        json_array_append_new(sources, json_pack("{s:s, s:f, s:o, s:o}", "name", s->set.source[i], "usual",
                                                 s->source[i].usual, "reached",
                                                 list_of(s->source[i].reached, LATHE_SOURCE_BINS), "right",
                                                 list_of(s->source[i].right, LATHE_SOURCE_BINS)));
    for (int32_t i = 0; i < s->set.n_arms; i++) {
        double reached[DEPTH_KEPT] = {0.0}, right[DEPTH_KEPT] = {0.0};
        const int32_t n = kept_depth(&s->set.arm[i]);
        if (s->controller->counts && n > 0)
            s->controller->counts(s->controller_state, i, reached, right, n, false);
        json_array_append_new(arms, json_pack("{s:s, s:o, s:o}", "name", s->set.arm[i].name, "reached",
                                              list_of(reached, n), "right", list_of(right, n)));
    }
    json_t *file = json_pack("{s:s, s:I, s:o, s:o}", "schema", "lathe.arms/1", "created",
                             (json_int_t) time(NULL), "sources", sources, "arms", arms);
    char *text = file ? lathe_json_text(file) : NULL;
    if (text)
        (void) !lathe_file_write(s->table_path, text, strlen(text), NULL);
    free(text);
    json_decref(file);
}
