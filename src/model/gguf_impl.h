/* gguf_impl.h - what a lathe_gguf is inside; for gguf_read.c and gguf_open.c only. */
#ifndef LATHE_MODEL_GGUF_IMPL_H
#define LATHE_MODEL_GGUF_IMPL_H

#include "model/gguf.h"

enum { LATHE_GGUF_HEADER_BYTES = 24 };

struct lathe_gguf {
    char *path;
    const uint8_t *base;
    uint64_t size;
    void *mapped; /* munmap(mapped, size) */
    void *owned;  /* free(owned) */
    uint32_t version;
    uint32_t alignment;
    bool aligned;
    size_t n_kv, n_tensors;
    lathe_gguf_kv *kv;                /* [n_kv] in the file's order */
    const lathe_gguf_kv **kv_sorted;  /* [n_kv] by key */
    lathe_gguf_tensor *tensors;       /* [n_tensors] in the file's order */
    const lathe_gguf_tensor **sorted; /* [n_tensors] by name */
    char *text;                       /* keys and string values, each with its NUL */
};

/* Magic and version of the first bytes of a file; size: how many there are. */
LATHE_NODISCARD lathe_status lathe_gguf_check_header(const char *path, const uint8_t *bytes, uint64_t size,
                                                     lathe_error *err);
/* Fills the tables from g->base and g->size. On failure the caller closes g. */
LATHE_NODISCARD lathe_status lathe_gguf_parse(lathe_gguf *g, const lathe_logger *logger, lathe_error *err);

#endif
