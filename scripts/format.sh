#!/bin/sh
# format.sh [--check] - clang-format over our sources.
set -eu
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null 2>&1 || {
    echo "format: clang-format is missing (apt-get install clang-format)" >&2
    exit 1
}
mode=-i
[ "${1:-}" = --check ] && mode="--dry-run --Werror"
# shellcheck disable=SC2046,SC2086
clang-format $mode $(git ls-files '*.c' '*.h')
