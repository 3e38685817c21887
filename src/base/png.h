/* png.h - pictures of at most 256 colours as PNG, without compression: deflate's stored blocks need only two
 * checksums. */
#ifndef LATHE_BASE_PNG_H
#define LATHE_BASE_PNG_H

#include "lathe/base.h"

struct lathe_buf;

/* pixels [height][width] are indices into palette [n_colours][4] (red, green, blue, opacity); 1 to 256
 * colours, sides of 1 to 4096. Appends the file's bytes. LATHE_ERR_ARG for sizes out of range or a pixel
 * beyond the palette. */
LATHE_NODISCARD lathe_status lathe_png_write(const uint8_t *pixels, int32_t width, int32_t height,
                                             const uint8_t (*palette)[4], int32_t n_colours,
                                             struct lathe_buf *out, lathe_error *err);

#endif
