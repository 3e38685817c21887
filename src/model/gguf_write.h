/* gguf_write.h - makes GGUF files: metadata first, then tensors one after the other, never held whole.
 *
 *     st = lathe_gguf_writer_new(&w, err);
 *     lathe_gguf_put_text(w, "general.architecture", "llama");        (failures wait until begin)
 *     lathe_gguf_put_tensor(w, "token_embd.weight", GGML_TYPE_F32, 2, ne);
 *     st = lathe_gguf_writer_begin(w, "x.gguf", err);
 *     st = lathe_gguf_writer_data(w, bytes, n_bytes, err);            (in the order of the tensors)
 *     st = lathe_gguf_writer_finish(w, err);                          (frees; the file appears now)
 * On a failure before finish: lathe_gguf_writer_free, which leaves the old file as it was. */
#ifndef LATHE_MODEL_GGUF_WRITE_H
#define LATHE_MODEL_GGUF_WRITE_H

#include "model/gguf.h"

typedef struct lathe_gguf_writer lathe_gguf_writer;

LATHE_NODISCARD lathe_status lathe_gguf_writer_new(lathe_gguf_writer **writer, lathe_error *err);
void lathe_gguf_writer_free(lathe_gguf_writer *writer);

/* Metadata. The first failure (memory, a key that is no key) is kept and returned by begin. */
void lathe_gguf_put_int(lathe_gguf_writer *w, const char *key, lathe_gguf_type type, int64_t value);
void lathe_gguf_put_u32(lathe_gguf_writer *w, const char *key, uint32_t value);
void lathe_gguf_put_f32(lathe_gguf_writer *w, const char *key, float value);
void lathe_gguf_put_f64(lathe_gguf_writer *w, const char *key, double value);
void lathe_gguf_put_bool(lathe_gguf_writer *w, const char *key, bool value);
void lathe_gguf_put_text(lathe_gguf_writer *w, const char *key, const char *value);
void lathe_gguf_put_string(lathe_gguf_writer *w, const char *key, const void *bytes, size_t n_bytes);
/* An array of numbers or bools, given as it stands in memory. */
void lathe_gguf_put_array(lathe_gguf_writer *w, const char *key, lathe_gguf_type type, const void *values,
                          uint64_t n);
/* An array of strings; n_bytes NULL: NUL-terminated ones. */
void lathe_gguf_put_strings(lathe_gguf_writer *w, const char *key, const char *const *texts,
                            const size_t *n_bytes, uint64_t n);
/* A pair of another file, as it is there. */
void lathe_gguf_put_kv(lathe_gguf_writer *w, const lathe_gguf_kv *kv);
/* All pairs of another file but those named in except (NULL-terminated; NULL: none). general.alignment is
 * always left out: this file has its own, 32. */
void lathe_gguf_put_all(lathe_gguf_writer *w, const lathe_gguf *gguf, const char *const *except);

/* Adds a row to the tensor table. ne[n_dims], fastest first. */
void lathe_gguf_put_tensor(lathe_gguf_writer *w, const char *name, uint32_t type, int32_t n_dims,
                           const int64_t *ne);

/* Bytes that the whole file will have. */
uint64_t lathe_gguf_writer_size(const lathe_gguf_writer *w);

/* Writes header, metadata and table to a temporary file beside path. */
LATHE_NODISCARD lathe_status lathe_gguf_writer_begin(lathe_gguf_writer *w, const char *path,
                                                     lathe_error *err);
/* The next bytes of the tensors' data, in pieces of any size within one tensor; padding is put in here. ARG
 * where they pass the current tensor's end. */
LATHE_NODISCARD lathe_status lathe_gguf_writer_data(lathe_gguf_writer *w, const void *bytes, size_t n_bytes,
                                                    lathe_error *err);
/* Commits and frees (whatever the result). INTERNAL where data is missing. */
LATHE_NODISCARD lathe_status lathe_gguf_writer_finish(lathe_gguf_writer *w, lathe_error *err);

#endif
