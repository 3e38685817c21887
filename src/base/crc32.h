/* crc32.h - the checksum of PNG, gzip and our checkpoints (polynomial 0x04c11db7, reflected). */
#ifndef LATHE_BASE_CRC32_H
#define LATHE_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

#include "lathe/base.h"

/* Goes on from the checksum of the bytes before; 0 at the beginning. */
uint32_t lathe_crc32(uint32_t before, const void *bytes, size_t n);
/* Of a whole file. IO where it cannot be read. */
LATHE_NODISCARD lathe_status lathe_crc32_file(const char *path, uint32_t *crc, lathe_error *err);

#endif
