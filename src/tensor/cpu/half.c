/* half.c - IEEE halves in plain C (cpu.h). */
#include <math.h>
#include <string.h>

#include "tensor/cpu/cpu.h"

float lathe_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t) (half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023;
    float value;
    uint32_t bits;
    if (exponent == 0) {
        value = (float) mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t lathe_float_to_half(float value) {
    uint32_t bits, size;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t) (bits >> 16 & 0x8000);
    size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t) (sign | 0x7e00 | (size >> 13 & 0x3ff));
    if (size >= 0x477ff000) /* 65520 and more */
        return sign | 0x7c00;
    if (size < 0x38800000) /* below 2^-14: a multiple of 2^-24 */
        return (uint16_t) (sign | (uint16_t) lrintf(fabsf(value) * 0x1p24f));
    size += 0xfff + (size >> 13 & 1);
    return (uint16_t) (sign | ((size >> 13) - (112 << 10)));
}
