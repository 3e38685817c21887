#!/bin/sh
# claims.sh BUILD - docs/claims.md is what the stored results give.
set -eu
build=$(cd "$1" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$build/lathe" lab --claims docs/claims -o "$dir/claims.md" >/dev/null
diff docs/claims.md "$dir/claims.md" || { echo "docs/claims.md is not what 'make claims' writes"; exit 1; }
