/* gguf_open.c - a GGUF file mapped, read, or lying in memory already; and the look-ups in its tables. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/gguf_impl.h"

/* --- Open and close ------------------------------------------------------------------------------ */

/* An object with its path; g->base and g->size are the caller's to fill. */
static lathe_status gguf_new(const char *path, lathe_gguf **out, lathe_error *err) {
    lathe_gguf *g = calloc(1, sizeof *g);
    char *copy = malloc(strlen(path) + 1);
    if (!g || !copy) {
        free(g);
        free(copy);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory to open it", path);
    }
    memcpy(copy, path, strlen(path) + 1);
    g->path = copy;
    *out = g;
    return LATHE_OK;
}

lathe_status lathe_gguf_from_memory(const void *bytes, size_t n_bytes, const char *name,
                                    const lathe_gguf_params *params, lathe_gguf **gguf, lathe_error *err) {
    lathe_gguf *g = NULL;
    lathe_status st = gguf_new(name, &g, err);
    if (st)
        return st;
    g->base = bytes;
    g->size = n_bytes;
    st = lathe_gguf_parse(g, params ? &params->logger : NULL, err);
    if (st) {
        lathe_gguf_close(g);
        return st;
    }
    *gguf = g;
    return LATHE_OK;
}

static lathe_status read_all(int fd, lathe_gguf *g, lathe_error *err) {
    const size_t rounded = ((size_t) g->size + 63) / 64 * 64;
    uint8_t *bytes = aligned_alloc(64, rounded);
    if (!bytes)
        return lathe_fail(err, LATHE_ERR_MEMORY,
                          "%s: no memory for its %llu bytes; leave out --no-mmap to map it instead", g->path,
                          (unsigned long long) g->size);
    g->owned = bytes;
    g->base = bytes;
    for (uint64_t pos = 0; pos < g->size;) {
        const uint64_t rest = g->size - pos, piece = rest < (1u << 28) ? rest : (1u << 28);
        const ssize_t n = pread(fd, bytes + pos, (size_t) piece, (off_t) pos);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return lathe_fail(err, LATHE_ERR_IO, "%s: reading stopped at byte %llu of %llu: %s", g->path,
                              (unsigned long long) pos, (unsigned long long) g->size,
                              n < 0 ? strerror(errno) : "the file became shorter");
        pos += (uint64_t) n;
    }
    return LATHE_OK;
}

lathe_status lathe_gguf_open(const char *path, const lathe_gguf_params *params, lathe_gguf **gguf,
                             lathe_error *err) {
    struct stat info;
    uint8_t header[LATHE_GGUF_HEADER_BYTES] = {0};
    lathe_gguf *g = NULL;
    lathe_status st;
    /* O_NONBLOCK: a FIFO is refused below instead of waited for */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return lathe_fail(err, LATHE_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0) {
        st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        st = lathe_fail(err, LATHE_ERR_IO, "%s: %s; want a regular file", path,
                        S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
        goto done;
    }
    const ssize_t n = pread(fd, header, sizeof header, 0);
    if (n < 0) {
        st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    st = lathe_gguf_check_header(path, header, (uint64_t) n, err);
    if (st)
        goto done;
    st = gguf_new(path, &g, err);
    if (st)
        goto done;
    g->size = (uint64_t) info.st_size;
    if (params && params->no_mmap) {
        st = read_all(fd, g, err);
        if (st)
            goto done;
    } else {
        void *mapped = mmap(NULL, (size_t) g->size, PROT_READ, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED) {
            st = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be mapped into memory (%s); try --no-mmap", path,
                            strerror(errno));
            goto done;
        }
        g->mapped = mapped;
        g->base = mapped;
    }
    st = lathe_gguf_parse(g, params ? &params->logger : NULL, err);
    if (st)
        goto done;
    *gguf = g;
    g = NULL;

done:
    close(fd);
    lathe_gguf_close(g);
    return st;
}

void lathe_gguf_close(lathe_gguf *g) {
    if (!g)
        return;
    if (g->mapped)
        munmap(g->mapped, (size_t) g->size);
    free(g->owned);
    free(g->text);
    free(g->sorted);
    free(g->tensors);
    free(g->kv_sorted);
    free(g->kv);
    free(g->path);
    free(g);
}

/* --- What is in it ------------------------------------------------------------------------------- */

const char *lathe_gguf_path(const lathe_gguf *g) {
    return g->path;
}

uint32_t lathe_gguf_version(const lathe_gguf *g) {
    return g->version;
}

uint64_t lathe_gguf_size(const lathe_gguf *g) {
    return g->size;
}

uint32_t lathe_gguf_alignment(const lathe_gguf *g) {
    return g->alignment;
}

bool lathe_gguf_is_mapped(const lathe_gguf *g) {
    return g->mapped != NULL;
}

const uint8_t *lathe_gguf_base(const lathe_gguf *g) {
    return g->base;
}

bool lathe_gguf_is_aligned(const lathe_gguf *g) {
    return g->aligned;
}

size_t lathe_gguf_n_kv(const lathe_gguf *g) {
    return g->n_kv;
}

const lathe_gguf_kv *lathe_gguf_kv_at(const lathe_gguf *g, size_t i) {
    return &g->kv[i];
}

const lathe_gguf_kv *lathe_gguf_find(const lathe_gguf *g, const char *key) {
    size_t lo = 0, hi = g->n_kv;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(key, g->kv_sorted[mid]->key);
        if (order == 0)
            return g->kv_sorted[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

size_t lathe_gguf_n_tensors(const lathe_gguf *g) {
    return g->n_tensors;
}

const lathe_gguf_tensor *lathe_gguf_tensor_at(const lathe_gguf *g, size_t i) {
    return &g->tensors[i];
}

const lathe_gguf_tensor *lathe_gguf_tensor_find(const lathe_gguf *g, const char *name) {
    size_t lo = 0, hi = g->n_tensors;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(name, g->sorted[mid]->name);
        if (order == 0)
            return g->sorted[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}
