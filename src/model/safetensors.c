/* safetensors.c - see safetensors.h. */
#include "model/safetensors.h"

#include <dirent.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"

enum { HEADER_MAX = 100 << 20, TENSORS_MAX = 1 << 20, PATH_BYTES = 4096 };

struct lathe_safetensors {
    lathe_file file[LATHE_SAFETENSORS_FILES_MAX];
    json_t *header[LATHE_SAFETENSORS_FILES_MAX]; /* own the names */
    int32_t n_files;
    lathe_safetensor *list;
    size_t n;
};

static uint32_t type_of(const char *name) {
    if (name != NULL && strcmp(name, "F32") == 0)
        return GGML_TYPE_F32;
    if (name != NULL && strcmp(name, "F16") == 0)
        return GGML_TYPE_F16;
    return name != NULL && strcmp(name, "BF16") == 0 ? GGML_TYPE_BF16 : GGML_TYPE_COUNT;
}

/* One entry of the header; false: what is wrong is in *why. */
static bool read_entry(const json_t *entry, const uint8_t *data, size_t n_data, lathe_safetensor *t,
                       const char **why) {
    const json_t *shape = json_object_get(entry, "shape"), *at = json_object_get(entry, "data_offsets");
    t->type = type_of(json_string_value(json_object_get(entry, "dtype")));
    *why = "shape or data_offsets is no list of integers";
    if (!json_is_array(shape) || json_array_size(shape) > 4 || !json_is_array(at) || json_array_size(at) != 2)
        return false;
    t->n_dims = (int32_t) json_array_size(shape);
    uint64_t values = 1;
    for (int32_t i = 0; i < 4; i++) {
        const json_t *side = json_array_get(shape, (size_t) (t->n_dims - 1 - i));
        t->ne[i] = i < t->n_dims ? json_integer_value(side) : 1;
        if (i < t->n_dims && (!json_is_integer(side) || t->ne[i] < 1 || t->ne[i] > INT32_MAX))
            return false;
        if (values > (uint64_t) 1 << 40)
            return false;
        values *= (uint64_t) t->ne[i];
    }
    const json_int_t begin = json_integer_value(json_array_get(at, 0)),
                     end = json_integer_value(json_array_get(at, 1));
    *why = "its data lie outside the file";
    if (begin < 0 || end < begin || (uint64_t) end > n_data)
        return false;
    t->data = data + begin;
    t->n_bytes = (size_t) (end - begin);
    *why = "its shape does not fit its bytes";
    return t->type == GGML_TYPE_COUNT || t->n_bytes == values * (t->type == GGML_TYPE_F32 ? 4 : 2);
}

static lathe_status read_file(lathe_safetensors *st, const char *path, lathe_error *err) {
    if (st->n_files == LATHE_SAFETENSORS_FILES_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: more than %d files", path,
                          (int) LATHE_SAFETENSORS_FILES_MAX);
    lathe_file *f = &st->file[st->n_files];
    lathe_status status = lathe_file_open(path, true, 0, f, err);
    if (status != LATHE_OK)
        return status;
    st->n_files++;
    uint64_t n = 0;
    for (int i = 8; f->n_bytes >= 8 && i-- > 0;)
        n = n << 8 | f->bytes[i];
    if (f->n_bytes < 8 || n > HEADER_MAX || n > f->n_bytes - 8)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: no safetensors file (a header of %llu bytes in a file of %zu)", path,
                          (unsigned long long) n, f->n_bytes);
    status =
        lathe_json_parse((const char *) f->bytes + 8, (size_t) n, path, &st->header[st->n_files - 1], err);
    if (status != LATHE_OK)
        return status;
    json_t *header = st->header[st->n_files - 1], *entry = NULL;
    const char *name = NULL, *why = NULL;
    if (!json_is_object(header) || json_object_size(header) > TENSORS_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the header is no object of tensors", path);
    lathe_safetensor *more = realloc(st->list, (st->n + json_object_size(header) + 1) * sizeof *more);
    if (more == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %zu tensors", path,
                          json_object_size(header));
    st->list = more;
    json_object_foreach(header, name, entry) {
        lathe_safetensor t = {.name = name};
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!read_entry(entry, f->bytes + 8 + n, f->n_bytes - 8 - (size_t) n, &t, &why))
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%.60s': %s", path, name, why);
        if (t.type != GGML_TYPE_COUNT)
            st->list[st->n++] = t;
    }
    return LATHE_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static lathe_status read_folder(lathe_safetensors *st, const char *path, lathe_error *err) {
    char *names[LATHE_SAFETENSORS_FILES_MAX];
    size_t n = 0;
    DIR *dir = opendir(path);
    lathe_status status = dir != NULL ? LATHE_OK : lathe_fail(err, LATHE_ERR_IO, "%s: cannot be read", path);
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        const size_t length = strlen(e->d_name);
        if (length > 12 && strcmp(e->d_name + length - 12, ".safetensors") == 0 && n < LATHE_LEN(names) &&
            (names[n] = strdup(e->d_name)) != NULL)
            n++;
    }
    if (dir != NULL)
        closedir(dir);
    qsort(names, n, sizeof *names, by_text);
    if (status == LATHE_OK && n == 0)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: no *.safetensors in this folder", path);
    for (size_t i = 0; i < n; i++) {
        char whole[PATH_BYTES];
        const int length = snprintf(whole, sizeof whole, "%s/%s", path, names[i]);
        if (status == LATHE_OK && (length < 0 || length >= PATH_BYTES))
            status = lathe_fail(err, LATHE_ERR_ARG, "the path '%s/...' is too long", path);
        if (status == LATHE_OK)
            status = read_file(st, whole, err);
        free(names[i]);
    }
    return status;
}

lathe_status lathe_safetensors_open(const char *path, lathe_safetensors **out, lathe_error *err) {
    lathe_safetensors *st = calloc(1, sizeof *st);
    if (st == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path);
    struct stat info;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const lathe_status status = folder ? read_folder(st, path, err) : read_file(st, path, err);
    if (status != LATHE_OK) {
        lathe_safetensors_close(st);
        return status;
    }
    *out = st;
    return LATHE_OK;
}

void lathe_safetensors_close(lathe_safetensors *st) {
    if (st == NULL)
        return;
    for (int32_t i = 0; i < st->n_files; i++) {
        lathe_file_close(&st->file[i]);
        json_decref(st->header[i]);
    }
    free(st->list);
    free(st);
}

size_t lathe_safetensors_count(const lathe_safetensors *st) {
    return st->n;
}
const lathe_safetensor *lathe_safetensors_at(const lathe_safetensors *st, size_t i) {
    return i < st->n ? &st->list[i] : NULL;
}

const lathe_safetensor *lathe_safetensors_find(const lathe_safetensors *st, const char *end) {
    const lathe_safetensor *found = NULL;
    const size_t m = strlen(end);
    for (size_t i = 0; i < st->n; i++) {
        const size_t n = strlen(st->list[i].name);
        if (n < m || strcmp(st->list[i].name + n - m, end) != 0 ||
            (n > m && st->list[i].name[n - m - 1] != '.'))
            continue;
        if (found != NULL)
            return NULL;
        found = &st->list[i];
    }
    return found;
}
