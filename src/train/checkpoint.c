/* checkpoint.c - a checkpoint is a folder that appears under its name by one rename, after every file in it
 * has reached the disk. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/crc32.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/gguf_write.h"
#include "model/synth.h"

enum { PATH_BYTES = 4096, CHECKPOINTS_MAX = 4096 };

static lathe_status path_in(char *out, const char *folder, const char *name, lathe_error *err) {
    int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < PATH_BYTES ? LATHE_OK
                                   : lathe_fail(err, LATHE_ERR_ARG, "the path '%s/...' is too long", folder);
}

/* --- Files -------------------------------------------------------------------------------------------- */

lathe_status lathe_model_write(const char *path, const lathe_desc *desc, const lathe_net *net,
                               float *const *values, const char *name, const char *tokenizer,
                               lathe_error *err) {
    lathe_gguf_writer *w;
    lathe_gguf *g = NULL;
    lathe_status status = lathe_gguf_writer_new(&w, err);
    if (status != LATHE_OK)
        return status;
    lathe_synth_put_desc(desc, w);
    lathe_gguf_put_u32(w, "general.file_type", 0);
    if (name != NULL)
        lathe_gguf_put_text(w, "general.name", name);
    if (tokenizer != NULL)
        status = lathe_gguf_open(tokenizer, NULL, &g, err);
    for (size_t i = 0; g != NULL && i < lathe_gguf_n_kv(g); i++)
        if (strncmp(lathe_gguf_kv_at(g, i)->key, "tokenizer.", 10) == 0)
            lathe_gguf_put_kv(w, lathe_gguf_kv_at(g, i));
    for (size_t i = 0; i < lathe_net_n_tensors(net); i++) {
        const lathe_desc_tensor *t = lathe_net_tensor(net, i);
        lathe_gguf_put_tensor(w, t->name, GGML_TYPE_F32, t->n_dims, t->ne);
    }
    if (status == LATHE_OK)
        status = lathe_gguf_writer_begin(w, path, err);
    for (size_t i = 0; status == LATHE_OK && i < lathe_net_n_tensors(net); i++)
        status = lathe_gguf_writer_data(w, values[i], (size_t) lathe_net_size(net, i) * sizeof(float), err);
    lathe_gguf_close(g);
    if (status == LATHE_OK)
        return lathe_gguf_writer_finish(w, err);
    lathe_gguf_writer_free(w);
    return status;
}

static void put_state(lathe_gguf_writer *w, const char *name, const char *suffix, size_t n) {
    char full[LATHE_GGUF_NAME_MAX];
    snprintf(full, sizeof full, "%.48s%s", name, suffix);
    lathe_gguf_put_tensor(w, full, GGML_TYPE_F32, 1, &(int64_t){(int64_t) n});
}

static lathe_status write_state(const char *path, const lathe_checkpoint *c, const lathe_net *net,
                                lathe_error *err) {
    lathe_gguf_writer *w;
    lathe_status status = lathe_gguf_writer_new(&w, err);
    if (status != LATHE_OK)
        return status;
    size_t n = lathe_net_n_tensors(net);
    lathe_gguf_put_text(w, "general.architecture", "lathe.train");
    lathe_gguf_put_int(w, "lathe.train.step", LATHE_GGUF_I64, c->step);
    lathe_gguf_put_int(w, "lathe.train.tokens", LATHE_GGUF_I64, c->tokens);
    lathe_gguf_put_f64(w, "lathe.train.best", isfinite(c->best) ? c->best : 1e300);
    lathe_gguf_put_f64(w, "lathe.train.best_kept", isfinite(c->best_kept) ? c->best_kept : 1e300);
    lathe_gguf_put_int(w, "lathe.train.best_step", LATHE_GGUF_I64, c->best_step);
    lathe_gguf_put_int(w, "lathe.train.stale", LATHE_GGUF_I64, c->stale);
    lathe_gguf_put_text(w, "lathe.train.settings", c->settings);
    if (c->kernels != NULL)
        lathe_gguf_put_text(w, "lathe.train.kernels", c->kernels);
    for (size_t i = 0; i < n; i++)
        if (c->state_size[i] > 0)
            put_state(w, lathe_net_tensor(net, i)->name, ".state", c->state_size[i]);
    for (size_t i = 0; c->average != NULL && i < n; i++)
        put_state(w, lathe_net_tensor(net, i)->name, ".ema", (size_t) lathe_net_size(net, i));
    status = lathe_gguf_writer_begin(w, path, err);
    for (size_t i = 0; status == LATHE_OK && i < n; i++)
        if (c->state_size[i] > 0)
            status = lathe_gguf_writer_data(w, c->state[i], c->state_size[i] * sizeof(float), err);
    for (size_t i = 0; status == LATHE_OK && c->average != NULL && i < n; i++)
        status =
            lathe_gguf_writer_data(w, c->average[i], (size_t) lathe_net_size(net, i) * sizeof(float), err);
    if (status == LATHE_OK)
        return lathe_gguf_writer_finish(w, err);
    lathe_gguf_writer_free(w);
    return status;
}

static int64_t file_size(const char *path) {
    FILE *f = fopen(path, "rb");
    int64_t n = f != NULL && fseek(f, 0, SEEK_END) == 0 ? (int64_t) ftell(f) : -1;
    if (f != NULL)
        fclose(f);
    return n;
}

/* train.json is written last and names the sizes of the others: what lacks it, or differs, is no checkpoint.
 * One of the right size with another checksum is damaged, which is an error: somebody should know of it. */
static lathe_status write_manifest(const char *folder, const lathe_checkpoint *c, lathe_error *err) {
    char model[PATH_BYTES], state[PATH_BYTES], path[PATH_BYTES];
    lathe_status status = path_in(model, folder, "model.gguf", err);
    if (status == LATHE_OK)
        status = path_in(state, folder, "state.gguf", err);
    if (status == LATHE_OK)
        status = path_in(path, folder, "train.json", err);
    uint32_t model_crc = 0, state_crc = 0;
    if (status == LATHE_OK)
        status = lathe_crc32_file(model, &model_crc, err);
    if (status == LATHE_OK)
        status = lathe_crc32_file(state, &state_crc, err);
    if (status != LATHE_OK)
        return status;
    json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "step", (json_int_t) c->step, "tokens",
                          (json_int_t) c->tokens, "model_bytes", (json_int_t) file_size(model), "state_bytes",
                          (json_int_t) file_size(state), "model_crc32", (json_int_t) model_crc, "state_crc32",
                          (json_int_t) state_crc, "settings", c->settings, "version", lathe_version());
    char *text = j != NULL ? lathe_json_text(j) : NULL;
    status = text == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path)
                          : lathe_file_write(path, text, strlen(text), err);
    free(text);
    json_decref(j);
    return status;
}

static bool complete(const char *folder) {
    char path[PATH_BYTES];
    json_t *j = NULL;
    if (path_in(path, folder, "train.json", NULL) != LATHE_OK ||
        lathe_json_read(path, 1 << 20, &j, NULL) != LATHE_OK)
        return false;
    int64_t model = json_integer_value(json_object_get(j, "model_bytes")),
            state = json_integer_value(json_object_get(j, "state_bytes"));
    json_decref(j);
    bool ok = path_in(path, folder, "model.gguf", NULL) == LATHE_OK && model > 0 && file_size(path) == model;
    return ok && path_in(path, folder, "state.gguf", NULL) == LATHE_OK && state > 0 &&
           file_size(path) == state;
}

/* folder/file against the checksum that train.json has under `key`; one without (an older version's) passes.
 */
static lathe_status undamaged(const char *folder, const char *file, const char *key, lathe_error *err) {
    char path[PATH_BYTES];
    json_t *j = NULL;
    uint32_t crc = 0;
    lathe_status status = path_in(path, folder, "train.json", err);
    if (status == LATHE_OK)
        status = lathe_json_read(path, 1 << 20, &j, err);
    if (status != LATHE_OK)
        return status;
    const json_t *wanted = json_object_get(j, key);
    status = path_in(path, folder, file, err);
    if (status == LATHE_OK && json_is_integer(wanted))
        status = lathe_crc32_file(path, &crc, err);
    if (status == LATHE_OK && json_is_integer(wanted) && json_integer_value(wanted) != (json_int_t) crc)
        status = lathe_fail(
            err, LATHE_ERR_INPUT,
            "%s: damaged: its checksum is %08x, %08x was written; remove %s to go on from the checkpoint "
            "before it",
            path, (unsigned) crc, (unsigned) json_integer_value(wanted), folder);
    json_decref(j);
    return status;
}

/* --- Folders ------------------------------------------------------------------------------------------ */

static void sync_folder(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd >= 0) {
        (void) fsync(fd);
        close(fd);
    }
}

static void remove_checkpoint(const char *path) {
    static const char *const files[] = {"train.json", "state.gguf", "model.gguf"};
    char file[PATH_BYTES];
    for (size_t i = 0; i < LATHE_LEN(files); i++)
        if (path_in(file, path, files[i], NULL) == LATHE_OK)
            (void) unlink(file);
    (void) rmdir(path);
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return (x > y) - (x < y);
}

/* Steps of the folders named checkpoint-<step>, rising; the number of them. */
static size_t list(const char *folder, int64_t steps[CHECKPOINTS_MAX]) {
    size_t n = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL && n < CHECKPOINTS_MAX;
         e = readdir(dir)) {
        char *end;
        if (strncmp(e->d_name, "checkpoint-", 11) != 0)
            continue;
        long long step = strtoll(e->d_name + 11, &end, 10);
        if (end != e->d_name + 11 && *end == '\0' && step > 0)
            steps[n++] = step;
    }
    if (dir != NULL)
        closedir(dir);
    qsort(steps, n, sizeof *steps, by_step);
    return n;
}

static lathe_status name_of(char *out, const char *folder, int64_t step, const char *suffix,
                            lathe_error *err) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%06lld%s", (long long) step, suffix);
    return path_in(out, folder, name, err);
}

/* Before anything is written: a checkpoint that cannot be whole is not begun. */
static lathe_status enough_space(const char *folder, const lathe_checkpoint *c, const lathe_net *net,
                                 lathe_error *err) {
    struct statvfs fs;
    uint64_t wanted = 1 << 16;
    for (size_t i = 0; i < lathe_net_n_tensors(net); i++)
        wanted += ((uint64_t) lathe_net_size(net, i) * (c->average != NULL ? 2 : 1) + c->state_size[i]) *
                  sizeof(float);
    if (statvfs(folder, &fs) != 0)
        return LATHE_OK; /* what cannot be asked is found out by writing */
    uint64_t left = (uint64_t) fs.f_bavail * fs.f_frsize;
    char a[32], b[32];
    if (left >= wanted)
        return LATHE_OK;
    lathe_format_bytes((int64_t) wanted, a, sizeof a);
    lathe_format_bytes((int64_t) left, b, sizeof b);
    return lathe_fail(err, LATHE_ERR_IO,
                      "%s: the disk is full: the checkpoint of step %lld needs %s, %s are free; the one "
                      "before it is kept",
                      folder, (long long) c->step, a, b);
}

lathe_status lathe_checkpoint_save(const char *folder, lathe_checkpoint *c, const lathe_desc *desc,
                                   const lathe_net *net, const char *name, const char *tokenizer,
                                   int32_t keep, lathe_error *err) {
    char final[PATH_BYTES], work[PATH_BYTES], path[PATH_BYTES];
    lathe_status status = name_of(final, folder, c->step, "", err);
    if (status == LATHE_OK)
        status = name_of(work, folder, c->step, ".tmp", err);
    if (status != LATHE_OK || complete(final))
        return status;
    remove_checkpoint(work);
    remove_checkpoint(final);
    status = enough_space(folder, c, net, err);
    if (status == LATHE_OK)
        status = lathe_folder_make(work, err);
    if (status != LATHE_OK)
        return status;
    size_t n = lathe_net_n_tensors(net);
    float **values = malloc((n + 1) * sizeof *values);
    if (values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", final);
    for (size_t i = 0; i < n; i++)
        values[i] = lathe_net_weights(net, i);
    if (status == LATHE_OK)
        status = path_in(path, work, "model.gguf", err);
    if (status == LATHE_OK)
        status = c->write != NULL ? c->write(c->user, path, net, values, err)
                                  : lathe_model_write(path, desc, net, values, name, tokenizer, err);
    if (status == LATHE_OK)
        status = path_in(path, work, "state.gguf", err);
    if (status == LATHE_OK)
        status = write_state(path, c, net, err);
    if (status == LATHE_OK)
        status = write_manifest(work, c, err);
    free(values);
    if (status == LATHE_OK && rename(work, final) != 0)
        status = lathe_fail(err, LATHE_ERR_IO, "%s: cannot take its name", final);
    if (status != LATHE_OK) {
        remove_checkpoint(work);
        return status;
    }
    sync_folder(folder);
    if (name_of(path, folder, c->step, "\n", err) == LATHE_OK) {
        const char *line =
            path + strlen(folder) + 1; /* `latest` holds the folder's name, for people and scripts */
        if (path_in(work, folder, "latest", err) == LATHE_OK)
            status = lathe_file_write(work, line, strlen(line), err);
    }
    c->saved = c->step;
    int64_t *steps = malloc(CHECKPOINTS_MAX * sizeof *steps);
    size_t found = steps != NULL ? list(folder, steps) : 0;
    for (size_t i = 0; i + (size_t) (keep < 1 ? 1 : keep) < found; i++)
        if (steps[i] != c->best_step && name_of(path, folder, steps[i], "", NULL) == LATHE_OK)
            remove_checkpoint(path);
    free(steps);
    return status;
}

/* --- Reading ------------------------------------------------------------------------------------------ */

static lathe_status same_settings(const char *saved, const char *wanted, const char *path, lathe_error *err) {
    while (*saved != '\0' || *wanted != '\0') {
        size_t a = strcspn(saved, "\n"), b = strcspn(wanted, "\n");
        if (a != b || memcmp(saved, wanted, a) != 0)
            return lathe_fail(err, LATHE_ERR_ARG, "%s is of another run: it has %.*s, this run %.*s", path,
                              (int) a, saved, (int) b, wanted);
        saved += a + (saved[a] != '\0');
        wanted += b + (wanted[b] != '\0');
    }
    return LATHE_OK;
}

static lathe_status fill(const lathe_gguf *g, const char *name, const char *suffix, float *out, size_t n,
                         lathe_error *err) {
    char full[LATHE_GGUF_NAME_MAX];
    snprintf(full, sizeof full, "%.48s%s", name, suffix);
    const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, full);
    if (t == NULL || t->type != GGML_TYPE_F32 || t->n_bytes != n * sizeof(float))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: '%s' is missing or has another size", lathe_gguf_path(g),
                          full);
    memcpy(out, t->data, t->n_bytes);
    return LATHE_OK;
}

static lathe_status load_from(const char *folder, lathe_checkpoint *c, lathe_net *net, lathe_error *err) {
    char path[PATH_BYTES];
    lathe_gguf *model = NULL, *state = NULL;
    const char *settings = NULL;
    size_t n = lathe_net_n_tensors(net);
    lathe_status status = undamaged(folder, "model.gguf", "model_crc32", err);
    if (status == LATHE_OK)
        status = undamaged(folder, "state.gguf", "state_crc32", err);
    if (status == LATHE_OK)
        status = path_in(path, folder, "model.gguf", err);
    if (status == LATHE_OK)
        status = lathe_gguf_open(path, NULL, &model, err);
    if (status == LATHE_OK)
        status = path_in(path, folder, "state.gguf", err);
    if (status == LATHE_OK)
        status = lathe_gguf_open(path, NULL, &state, err);
    if (status == LATHE_OK)
        status = lathe_gguf_text(state, "lathe.train.settings", LATHE_GGUF_REQUIRED, &settings, err);
    if (status == LATHE_OK)
        status = same_settings(settings, c->settings, folder, err);
    const char *kernels = NULL;
    if (status == LATHE_OK)
        status = lathe_gguf_text(state, "lathe.train.kernels", LATHE_GGUF_OPTIONAL, &kernels, err);
    if (status == LATHE_OK && kernels != NULL && (c->kernels = strdup(kernels)) == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", folder);
    if (status == LATHE_OK)
        status = lathe_gguf_int(state, "lathe.train.step", LATHE_GGUF_REQUIRED, 1, INT64_MAX, &c->step, err);
    if (status == LATHE_OK)
        status =
            lathe_gguf_int(state, "lathe.train.tokens", LATHE_GGUF_REQUIRED, 0, INT64_MAX, &c->tokens, err);
    if (status == LATHE_OK)
        status =
            lathe_gguf_real(state, "lathe.train.best", LATHE_GGUF_REQUIRED, -1e300, 1e300, &c->best, err);
    if (status == LATHE_OK)
        status = lathe_gguf_real(state, "lathe.train.best_kept", LATHE_GGUF_OPTIONAL, -1e300, 1e300,
                                 &c->best_kept, err);
    if (status == LATHE_OK)
        status = lathe_gguf_int(state, "lathe.train.best_step", LATHE_GGUF_OPTIONAL, 0, INT64_MAX,
                                &c->best_step, err);
    if (status == LATHE_OK)
        status =
            lathe_gguf_int(state, "lathe.train.stale", LATHE_GGUF_OPTIONAL, 0, INT64_MAX, &c->stale, err);
    for (size_t i = 0; status == LATHE_OK && i < n; i++) {
        const char *name = lathe_net_tensor(net, i)->name;
        size_t size = (size_t) lathe_net_size(net, i);
        status = fill(model, name, "", lathe_net_weights(net, i), size, err);
        if (status == LATHE_OK && c->state_size[i] > 0)
            status = fill(state, name, ".state", c->state[i], c->state_size[i], err);
        if (status == LATHE_OK && c->average != NULL)
            status = fill(state, name, ".ema", c->average[i], size, err);
    }
    lathe_gguf_close(model);
    lathe_gguf_close(state);
    return status;
}

lathe_status lathe_checkpoint_load(const char *folder, lathe_checkpoint *c, lathe_net *net,
                                   const lathe_logger *logger, lathe_error *err) {
    char path[PATH_BYTES];
    int64_t *steps = malloc(CHECKPOINTS_MAX * sizeof *steps);
    if (steps == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", folder);
    lathe_status status = LATHE_OK;
    bool done = false;
    for (size_t i = list(folder, steps); !done && status == LATHE_OK && i-- > 0;) {
        status = name_of(path, folder, steps[i], "", err);
        if (status == LATHE_OK && complete(path)) {
            status = load_from(path, c, net, err);
            c->saved = c->step;
            done = true;
        } else if (status == LATHE_OK) {
            lathe_log(logger, LATHE_LOG_WARN, "%s is incomplete and ignored", path);
        }
    }
    free(steps);
    return status;
}

/* --- For others ----------------------------------------------------------------------------------------- */

struct lathe_train_state {
    lathe_gguf *gguf;
    int64_t step;
};

lathe_status lathe_train_state_open(const char *checkpoint, lathe_train_state **state, lathe_error *err) {
    char path[PATH_BYTES];
    if (!complete(checkpoint))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: no complete checkpoint (a folder with model.gguf, state.gguf "
                          "and train.json)",
                          checkpoint);
    lathe_train_state *s = calloc(1, sizeof *s);
    if (s == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", checkpoint);
    lathe_status status = undamaged(checkpoint, "state.gguf", "state_crc32", err);
    if (status == LATHE_OK)
        status = path_in(path, checkpoint, "state.gguf", err);
    if (status == LATHE_OK)
        status = lathe_gguf_open(path, NULL, &s->gguf, err);
    if (status == LATHE_OK)
        status =
            lathe_gguf_int(s->gguf, "lathe.train.step", LATHE_GGUF_REQUIRED, 1, INT64_MAX, &s->step, err);
    if (status != LATHE_OK) {
        lathe_train_state_close(s);
        return status;
    }
    *state = s;
    return LATHE_OK;
}

void lathe_train_state_close(lathe_train_state *s) {
    if (s != NULL)
        lathe_gguf_close(s->gguf);
    free(s);
}

int64_t lathe_train_state_step(const lathe_train_state *s) {
    return s->step;
}

const float *lathe_train_state_of(const lathe_train_state *s, const char *tensor, size_t *n) {
    char full[LATHE_GGUF_NAME_MAX];
    snprintf(full, sizeof full, "%.48s.state", tensor);
    const lathe_gguf_tensor *t = lathe_gguf_tensor_find(s->gguf, full);
    if (t == NULL || t->type != GGML_TYPE_F32)
        return NULL;
    *n = (size_t) t->n_values;
    return (const float *) (const void *) t->data;
}
