/* png.c - see png.h. Format: PNG specification (third edition) 5 and 11; RFC 1950 and 1951 (stored blocks).
 */
#include "base/png.h"

#include <string.h>

#include "base/buf.h"
#include "base/crc32.h"

enum { SIDE_MAX = 4096, BLOCK_MAX = 65535 };

static void put32(uint8_t out[4], uint32_t x) {
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t) (x >> (24 - 8 * i));
}

/* Length, type, data, checksum of type and data. */
static lathe_status chunk(lathe_buf *out, const char *type, const void *data, size_t n, lathe_error *err) {
    uint8_t number[4];
    put32(number, (uint32_t) n);
    lathe_status st = lathe_buf_add(out, number, 4, err);
    const size_t begin = out->n_bytes;
    if (!st)
        st = lathe_buf_add(out, type, 4, err);
    if (!st)
        st = lathe_buf_add(out, data, n, err);
    if (st)
        return st;
    put32(number, lathe_crc32(0, out->data + begin, n + 4));
    return lathe_buf_add(out, number, 4, err);
}

static lathe_status add_adler(lathe_buf *z, const uint8_t *bytes, size_t n, lathe_error *err) {
    uint32_t a = 1, b = 0;
    uint8_t number[4];
    for (size_t i = 0; i < n; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    put32(number, b << 16 | a);
    return lathe_buf_add(z, number, 4, err);
}

/* zlib's wrapping of stored blocks: header, blocks of at most 65,535 bytes, Adler-32. */
static lathe_status store(lathe_buf *z, const uint8_t *bytes, size_t n, lathe_error *err) {
    lathe_status st = lathe_buf_add(z, "\x78\x01", 2, err);
    for (size_t at = 0; !st && at < n; at += BLOCK_MAX) {
        const size_t size = n - at < BLOCK_MAX ? n - at : BLOCK_MAX;
        const uint8_t head[5] = {at + size == n, (uint8_t) size, (uint8_t) (size >> 8), (uint8_t) ~size,
                                 (uint8_t) (~size >> 8)};
        st = lathe_buf_add(z, head, 5, err);
        if (!st)
            st = lathe_buf_add(z, bytes + at, size, err);
    }
    return st ? st : add_adler(z, bytes, n, err);
}

lathe_status lathe_png_write(const uint8_t *pixels, int32_t width, int32_t height,
                             const uint8_t (*palette)[4], int32_t n_colours, lathe_buf *out,
                             lathe_error *err) {
    if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX || n_colours < 1 || n_colours > 256)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a picture of %d x %d pixels and %d colours is outside what PNG is written for",
                          width, height, n_colours);
    for (size_t i = 0; i < (size_t) width * (size_t) height; i++)
        if (pixels[i] >= n_colours)
            return lathe_fail(err, LATHE_ERR_ARG, "pixel %zu has colour %d of %d", i, pixels[i], n_colours);
    uint8_t head[13] = {0}, colours[256 * 3], opacity[256];
    put32(head, (uint32_t) width);
    put32(head + 4, (uint32_t) height);
    head[8] = 8; /* bits an index */
    head[9] = 3; /* palette */
    for (int32_t i = 0; i < n_colours; i++) {
        memcpy(colours + 3 * i, palette[i], 3);
        opacity[i] = palette[i][3];
    }
    lathe_buf rows, z;
    lathe_buf_init(&rows, (size_t) 2 * SIDE_MAX * SIDE_MAX);
    lathe_buf_init(&z, (size_t) 3 * SIDE_MAX * SIDE_MAX);
    lathe_status st = LATHE_OK;
    for (int32_t y = 0; !st && y < height; y++) { /* each row begins with its filter: none */
        st = lathe_buf_add(&rows, "", 1, err);
        if (!st)
            st = lathe_buf_add(&rows, pixels + (size_t) y * (size_t) width, (size_t) width, err);
    }
    if (!st)
        st = store(&z, (const uint8_t *) rows.data, rows.n_bytes, err);
    if (!st)
        st = lathe_buf_add(out, "\x89PNG\r\n\x1a\n", 8, err);
    if (!st)
        st = chunk(out, "IHDR", head, sizeof head, err);
    if (!st)
        st = chunk(out, "PLTE", colours, (size_t) n_colours * 3, err);
    if (!st)
        st = chunk(out, "tRNS", opacity, (size_t) n_colours, err);
    if (!st)
        st = chunk(out, "IDAT", z.data, z.n_bytes, err);
    if (!st)
        st = chunk(out, "IEND", "", 0, err);
    lathe_buf_free(&rows);
    lathe_buf_free(&z);
    return st;
}
