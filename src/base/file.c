/* file.c - see file.h. Facts behind it: fopen of a directory succeeds, so fstat decides; close can report the
 * write error of a network disk; a rename is durable only after the folder itself was synced. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

static bool is_dash(const char *path) {
    return strcmp(path, "-") == 0;
}

/* As a shell's <(command) gives: read, never mapped. */
static bool is_pipe(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISFIFO(info.st_mode);
}

/* Opens a file or pipe for reading and tells its size (of a pipe: 0); *fd is -1 after a failure. */
static lathe_status open_input(const char *path, int *fd, size_t *n_bytes, lathe_error *err) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return lathe_fail(err, LATHE_ERR_IO, "%s: %s", path, strerror(errno));
    lathe_status st = LATHE_OK;
    if (fstat(*fd, &info) != 0)
        st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        st = lathe_fail(err, LATHE_ERR_IO, "%s: is a directory; a file is needed", path);
    else if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode))
        st = lathe_fail(err, LATHE_ERR_IO, "%s: not a regular file", path);
    else
        *n_bytes = S_ISREG(info.st_mode) ? (size_t) info.st_size : 0;
    if (st) {
        close(*fd);
        *fd = -1;
    }
    return st;
}

/* Reads from fd to its end, at most limit bytes. */
static lathe_status read_stream(int fd, const char *name, size_t limit, lathe_buf *buf, lathe_error *err) {
    lathe_buf_init(buf, limit);
    for (;;) {
        size_t room = limit - buf->n_bytes;
        room = room > 65536 ? 65536 : room;
        lathe_status st = lathe_buf_reserve(buf, room, err);
        if (st)
            return st;
        char one_more;
        char *target = room > 0 ? buf->data + buf->n_bytes : &one_more;
        const ssize_t n = read(fd, target, room > 0 ? room : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lathe_fail(err, LATHE_ERR_IO, "%s: %s", name, strerror(errno));
        if (n == 0)
            break;
        if (room == 0)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: longer than the limit of %zu bytes", name, limit);
        buf->n_bytes += (size_t) n;
    }
    return lathe_buf_add(buf, "", 0, err); /* ends with NUL, and data is never NULL */
}

lathe_status lathe_file_read(const char *path, size_t limit, char **text, size_t *n_bytes, lathe_error *err) {
    lathe_buf buf;
    lathe_buf_init(&buf, limit);
    int fd = STDIN_FILENO;
    size_t size = 0;
    lathe_status st = LATHE_OK;
    if (!is_dash(path)) {
        st = open_input(path, &fd, &size, err);
        if (st)
            return st;
        if (size > limit)
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s: %zu bytes, more than the limit of %zu", path, size,
                            limit);
    }
    if (!st)
        st = read_stream(fd, is_dash(path) ? "stdin" : path, limit, &buf, err);
    if (fd != STDIN_FILENO)
        close(fd);
    if (st) {
        lathe_buf_free(&buf);
        return st;
    }
    *text = lathe_buf_take(&buf, n_bytes);
    return LATHE_OK;
}

lathe_status lathe_file_open(const char *path, bool map, size_t limit, lathe_file *file, lathe_error *err) {
    static const uint8_t nothing[1] = {0};
    if (limit == 0)
        limit = SIZE_MAX / 4;
    if (!map || is_dash(path) || is_pipe(path)) {
        char *text = NULL;
        size_t n = 0;
        const lathe_status st = lathe_file_read(path, limit, &text, &n, err);
        if (st)
            return st;
        *file = (lathe_file){.bytes = (const uint8_t *) text, .n_bytes = n};
        return LATHE_OK;
    }
    int fd;
    size_t n;
    lathe_status st = open_input(path, &fd, &n, err);
    if (st)
        return st;
    if (n > limit) {
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: %zu bytes, more than the limit of %zu", path, n, limit);
    } else if (n == 0) {
        *file = (lathe_file){.bytes = nothing, .n_bytes = 0, .mapped = true};
    } else {
        void *bytes = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *file = (lathe_file){.bytes = bytes, .n_bytes = n, .mapped = true};
    }
    close(fd);
    return st;
}

void lathe_file_close(lathe_file *file) {
    if (!file || !file->bytes)
        return;
    union {
        const uint8_t *in;
        void *out;
    } bytes = {.in = file->bytes};
    if (!file->mapped)
        free(bytes.out);
    else if (file->n_bytes > 0)
        munmap(bytes.out, file->n_bytes);
    *file = (lathe_file){0};
}

/* --- Writing ------------------------------------------------------------------------------------- */

struct lathe_writer {
    char *path, *temporary; /* NULL for stdout */
    int fd;
    uint64_t offset;  /* bytes handed to us */
    size_t n_pending; /* of them still in the buffer */
    char pending[1 << 16];
};

static void writer_free(lathe_writer *w) {
    free(w->path);
    free(w->temporary);
    free(w);
}

lathe_status lathe_writer_open(const char *path, lathe_writer **writer, lathe_error *err) {
    lathe_writer *w = calloc(1, sizeof *w);
    if (!w)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for writing", path);
    if (is_dash(path)) {
        w->fd = STDOUT_FILENO;
        *writer = w;
        return LATHE_OK;
    }
    const char *slash = strrchr(path, '/');
    const int n_folder = slash ? (int) (slash - path) + 1 : 0;
    const size_t n = strlen(path) + 40;
    w->path = malloc(n);
    w->temporary = malloc(n);
    struct stat info;
    lathe_status st = LATHE_OK;
    if (!w->path || !w->temporary) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for writing", path);
    } else if (path[n_folder] == '\0' || (stat(path, &info) == 0 && S_ISDIR(info.st_mode))) {
        st = lathe_fail(err, LATHE_ERR_IO, "%s: is a directory; a file name is needed", path);
    } else if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        /* A device or a pipe takes the bytes as they come; a rename would replace it by a file. */
        memcpy(w->path, path, strlen(path) + 1);
        free(w->temporary);
        w->temporary = NULL;
        w->fd = open(path, O_WRONLY | O_CLOEXEC);
        if (w->fd < 0)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    } else {
        memcpy(w->path, path, strlen(path) + 1);
        const int k =
            snprintf(w->temporary, n, "%.*s.%s.tmp.%ld", n_folder, path, path + n_folder, (long) getpid());
        w->fd = k > 0 ? open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
        if (w->fd < 0)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    if (st) {
        writer_free(w);
        return st;
    }
    *writer = w;
    return LATHE_OK;
}

static lathe_status write_all(lathe_writer *w, const void *bytes, size_t n_bytes, lathe_error *err) {
    const char *p = bytes;
    while (n_bytes > 0) {
        const ssize_t n = write(w->fd, p, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lathe_fail(err, LATHE_ERR_IO, "%s: write failed: %s", w->path ? w->path : "stdout",
                              strerror(errno));
        p += n;
        n_bytes -= (size_t) n;
    }
    return LATHE_OK;
}

static lathe_status flush(lathe_writer *w, lathe_error *err) {
    const lathe_status st = write_all(w, w->pending, w->n_pending, err);
    w->n_pending = 0;
    return st;
}

lathe_status lathe_writer_add(lathe_writer *w, const void *bytes, size_t n_bytes, lathe_error *err) {
    lathe_status st = LATHE_OK;
    if (w->n_pending + n_bytes > sizeof w->pending)
        st = flush(w, err);
    if (st)
        return st;
    w->offset += n_bytes;
    if (n_bytes >= sizeof w->pending)
        return write_all(w, bytes, n_bytes, err);
    if (n_bytes > 0)
        memcpy(w->pending + w->n_pending, bytes, n_bytes);
    w->n_pending += n_bytes;
    return LATHE_OK;
}

lathe_status lathe_writer_patch(lathe_writer *w, uint64_t offset, const void *bytes, size_t n_bytes,
                                lathe_error *err) {
    if (!w->path || offset > w->offset || n_bytes > w->offset - offset)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "a patch outside of what was written");
    lathe_status st = flush(w, err);
    const char *p = bytes;
    while (!st && n_bytes > 0) {
        const ssize_t n = pwrite(w->fd, p, n_bytes, (off_t) offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lathe_fail(err, LATHE_ERR_IO, "%s: write failed: %s", w->path, strerror(errno));
        p += n;
        offset += (uint64_t) n;
        n_bytes -= (size_t) n;
    }
    return st;
}

uint64_t lathe_writer_offset(const lathe_writer *w) {
    return w->offset;
}

/* Best effort: a file system that cannot sync a folder is no reason to fail. Cuts path to its folder, so that
 * no allocation can fail here. */
static void sync_folder_of(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path ? 1 : 0] = '\0';
    const int fd = open(slash ? path : ".", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void) fsync(fd);
        close(fd);
    }
}

lathe_status lathe_writer_commit(lathe_writer *w, lathe_error *err) {
    lathe_status st = flush(w, err);
    if (w->path && !w->temporary) {
        if (close(w->fd) != 0 && !st)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", w->path, strerror(errno));
    } else if (w->path) {
        if (!st && fsync(w->fd) != 0)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", w->path, strerror(errno));
        if (close(w->fd) != 0 && !st)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", w->path, strerror(errno));
        if (!st && rename(w->temporary, w->path) != 0)
            st = lathe_fail(err, LATHE_ERR_IO, "%s: %s", w->path, strerror(errno));
        if (st)
            unlink(w->temporary);
        else
            sync_folder_of(w->path);
    }
    writer_free(w);
    return st;
}

void lathe_writer_abandon(lathe_writer *w) {
    if (!w)
        return;
    if (w->path) {
        close(w->fd);
        if (w->temporary)
            unlink(w->temporary);
    }
    writer_free(w);
}

lathe_status lathe_file_write(const char *path, const void *bytes, size_t n_bytes, lathe_error *err) {
    lathe_writer *w = NULL;
    lathe_status st = lathe_writer_open(path, &w, err);
    if (st)
        return st;
    st = lathe_writer_add(w, bytes, n_bytes, err);
    if (st) {
        lathe_writer_abandon(w);
        return st;
    }
    return lathe_writer_commit(w, err);
}

lathe_status lathe_folder_make(const char *path, lathe_error *err) {
    const size_t n = strlen(path);
    char *copy = malloc(n + 1);
    if (!copy)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path);
    memcpy(copy, path, n + 1);
    lathe_status st = LATHE_OK;
    for (size_t i = 1; i <= n && !st; i++) {
        if (copy[i] != '/' && copy[i] != '\0')
            continue;
        const char kept = copy[i];
        copy[i] = '\0';
        struct stat info;
        if (mkdir(copy, 0777) != 0 && !(errno == EEXIST && stat(copy, &info) == 0 && S_ISDIR(info.st_mode)))
            st = lathe_fail(err, LATHE_ERR_IO, "%s: cannot make this folder: %s", copy, strerror(errno));
        copy[i] = kept;
    }
    free(copy);
    return st;
}
