/* file.h - whole files in, mapped or read; files out, written beside their place and renamed. */
#ifndef LATHE_BASE_FILE_H
#define LATHE_BASE_FILE_H

#include "lathe/base.h"

/* Bytes of a regular file, read only. */
typedef struct lathe_file {
    const uint8_t *bytes; /* [n_bytes]; never NULL after success */
    size_t n_bytes;
    bool mapped; /* else read into memory */
} lathe_file;

/* Maps a regular file (or reads it, where map is false). A directory, a missing file and a file over `limit`
 * bytes (0: no limit) are errors. "-" reads stdin up to the limit. */
LATHE_NODISCARD lathe_status lathe_file_open(const char *path, bool map, size_t limit, lathe_file *file,
                                             lathe_error *err);
void lathe_file_close(lathe_file *file);

/* Reads all of a file, a pipe or (for "-") stdin into *text, NUL-terminated; at most limit bytes. free() it.
 */
LATHE_NODISCARD lathe_status lathe_file_read(const char *path, size_t limit, char **text, size_t *n_bytes,
                                             lathe_error *err);

/* A file being written: under a temporary name in the same folder until commit renames it.
 * "-" is stdout, and a device or a pipe is written directly: nothing is renamed. */
typedef struct lathe_writer lathe_writer;

LATHE_NODISCARD lathe_status lathe_writer_open(const char *path, lathe_writer **writer, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_writer_add(lathe_writer *writer, const void *bytes, size_t n_bytes,
                                              lathe_error *err);
/* Overwrites bytes that were written before (headers whose sizes are known at the end). Not for "-". */
LATHE_NODISCARD lathe_status lathe_writer_patch(lathe_writer *writer, uint64_t offset, const void *bytes,
                                                size_t n_bytes, lathe_error *err);
uint64_t lathe_writer_offset(const lathe_writer *writer); /* bytes written so far */
/* Flushes, fsyncs, renames, fsyncs the folder, frees; the writer is gone whatever the result. */
LATHE_NODISCARD lathe_status lathe_writer_commit(lathe_writer *writer, lathe_error *err);
/* Removes the temporary file; the old file stays as it was. NULL is fine. */
void lathe_writer_abandon(lathe_writer *writer);

/* All at once: the file at path holds these bytes, or is as before. */
LATHE_NODISCARD lathe_status lathe_file_write(const char *path, const void *bytes, size_t n_bytes,
                                              lathe_error *err);

/* Makes a folder and its parents; an existing one is fine. */
LATHE_NODISCARD lathe_status lathe_folder_make(const char *path, lathe_error *err);

#endif
