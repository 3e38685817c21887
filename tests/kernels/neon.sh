#!/bin/sh
# neon.sh - the kernels for Arm, compiled by aarch64-linux-gnu-gcc and run by qemu-aarch64, against the scalar ones bit for
# bit. Says 'skipped' (77) where one of the two is missing.
set -eu
cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
for tool in "$cc" qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags="-std=c11 -D_POSIX_C_SOURCE=200809L -O1 -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -Isrc -Iinclude"
# shellcheck disable=SC2086
compile() {
    name=$1
    shift
    "$cc" $flags "$@" -c "$name" -o "$dir/$(basename "$name" .c).o"
}
compile src/tensor/cpu/kernels_neon.c -march=armv8.2-a+dotprod
compile src/tensor/cpu/kernels_i8mm.c -march=armv8.2-a+dotprod+i8mm
for name in src/tensor/cpu/kernels_scalar.c src/tensor/cpu/cpu.c src/tensor/cpu/half.c src/tensor/cpu/pack.c \
    tests/kernels/every_set.c; do
    compile "$name"
done
"$cc" -static "$dir"/*.o -o "$dir/every_set" -lm
qemu-aarch64 -cpu max "$dir/every_set" neon i8mm
