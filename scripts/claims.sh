#!/bin/sh
# claims.sh BUILD - docs/claims.md from docs/claims/NAME.json, the results of full runs; a lab without a stored result is
# run first (minutes). Remove a file to measure its lab again.
set -eu
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
mkdir -p docs/claims
for lab in $("$build/lathe" lab | sed -n 's/^\([a-z][a-z-]*\) .*/\1/p'); do
    [ -f "docs/claims/$lab.json" ] && continue
    echo "claims: lathe lab $lab"
    "$build/lathe" lab "$lab" -o "$build/claims/$lab"
    cp "$build/claims/$lab/metrics.json" "docs/claims/$lab.json"
done
"$build/lathe" lab --claims docs/claims -o docs/claims.md
echo "claims: docs/claims.md"
