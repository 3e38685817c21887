#!/bin/sh
# cross.sh: the kernels of 64-bit ARM, cross-compiled and run under an emulator, against the scalar ones. 77 where the
# compiler or the emulator is missing.
CC=${CROSS_CC:-aarch64-linux-gnu-gcc}
EMULATOR=${CROSS_EMULATOR:-qemu-aarch64}
command -v "$CC" > /dev/null && command -v "$EMULATOR" > /dev/null || { echo "no $CC or $EMULATOR"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
flags="-std=c11 -O2 -Wall -Wextra -ffp-contract=off -fno-math-errno -D_POSIX_C_SOURCE=200809L -Isrc -Iinclude -static"
"$CC" $flags tests/kernels/cross_attention.c src/tensor/cpu/attention_scalar.c src/tensor/cpu/attention_neon.c \
    src/tensor/cpu/half.c -lm \
    -o "$dir/attention" && "$EMULATOR" "$dir/attention"
