/* PNG files against bytes worked out from the specification, and against a small reader of stored blocks. */
#include "support/check.h"

#include <string.h>

#include "base/buf.h"
#include "base/png.h"

static uint32_t get32(const uint8_t *p) {
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

/* One white pixel: assembled with Python's struct, zlib.crc32 and zlib.adler32. */
static void one_pixel(void **state) {
    (void) state;
    static const uint8_t want[] = {
        0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x03, 0x00, 0x00, 0x00, 0x28, 0xcb, 0x34, 0xbb, 0x00,
        0x00, 0x00, 0x03, 0x50, 0x4c, 0x54, 0x45, 0xff, 0xff, 0xff, 0xa7, 0xc4, 0x1b, 0xc8, 0x00, 0x00, 0x00,
        0x01, 0x74, 0x52, 0x4e, 0x53, 0xff, 0x6d, 0xe4, 0x37, 0xeb, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x44, 0x41,
        0x54, 0x78, 0x01, 0x01, 0x02, 0x00, 0xfd, 0xff, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x7e, 0x05, 0x0d,
        0xd2, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};
    const uint8_t pixel = 0, white[1][4] = {{255, 255, 255, 255}};
    lathe_error err = {0};
    lathe_buf out;
    lathe_buf_init(&out, 1 << 20);
    check_ok(lathe_png_write(&pixel, 1, 1, white, 1, &out, &err), err);
    assert_int_equal(out.n_bytes, sizeof want);
    for (size_t i = 0; i < sizeof want; i++)
        if ((uint8_t) out.data[i] != want[i])
            fail_msg("byte %zu is %02x, not %02x", i, (uint8_t) out.data[i], want[i]);
    lathe_buf_free(&out);
}

/* 300 x 300 needs two stored blocks; every pixel comes back. */
static void pixels_come_back(void **state) {
    (void) state;
    enum { W = 300, H = 300 };
    static uint8_t pixels[W * H];
    uint8_t palette[200][4] = {{0}};
    for (int i = 0; i < W * H; i++)
        pixels[i] = (uint8_t) (i * 7 % 200);
    lathe_error err = {0};
    lathe_buf out;
    lathe_buf_init(&out, 1 << 20);
    check_ok(lathe_png_write(pixels, W, H, (const uint8_t(*)[4]) palette, 200, &out, &err), err);
    const uint8_t *p = (const uint8_t *) out.data + 8, *end = (const uint8_t *) out.data + out.n_bytes;
    while (p < end && memcmp(p + 4, "IDAT", 4) != 0)
        p += 12 + get32(p);
    assert_true(p < end);
    size_t n = 0, blocks = 0;
    bool last = false;
    for (p += 10; !last; p += 5 + (p[1] | p[2] << 8)) {
        const size_t size = (size_t) (p[1] | p[2] << 8);
        assert_int_equal(size ^ 0xffff, (size_t) (p[3] | p[4] << 8));
        last = p[0];
        blocks++;
        for (size_t i = 0; i < size; i++, n++) {
            const size_t row = n / (W + 1), col = n % (W + 1);
            assert_int_equal(p[5 + i], col == 0 ? 0 : pixels[row * W + col - 1]);
        }
    }
    assert_int_equal(n, (W + 1) * H);
    assert_int_equal(blocks, 2);
    lathe_buf_free(&out);
}

static void what_is_out_of_range_is_refused(void **state) {
    (void) state;
    const uint8_t pixels[2] = {0, 5}, palette[4][4] = {{0}};
    lathe_error err = {0};
    lathe_buf out;
    lathe_buf_init(&out, 1 << 20);
    assert_int_equal(lathe_png_write(pixels, 2, 1, palette, 4, &out, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_png_write(pixels, 0, 1, palette, 4, &out, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_png_write(pixels, 2, 5000, palette, 4, &out, &err), LATHE_ERR_ARG);
    assert_int_equal(out.n_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pixel),
        cmocka_unit_test(pixels_come_back),
        cmocka_unit_test(what_is_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
