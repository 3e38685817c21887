#!/bin/sh
# ranks.sh BUILD - the same tree from 1, 2, 3 and 5 ranks as from one process; a bad file ends all ranks with status 1.
set -eu
build=$(cd "$1" && pwd)
[ -x "$build/tests/ranks" ] || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
run="mpirun --allow-run-as-root --oversubscribe -n"
# few rows: most weights tie, so that only the same order of ties gives the same tree
"$build/lathe" tree gen --shape random --size 600 --rho 0.7 -n 12 --seed 3 -o "$dir/t.csv"
"$build/lathe" tree learn "$dir/t.csv" -q --edges | tail -n +2 | cut -d, -f1,2 | tr , ' ' >"$dir/one"
for ranks in 1 2 3 5; do
    $run $ranks "$build/tests/ranks" "$dir/t.csv" 2>/dev/null | grep -v log-likelihood | cut -d' ' -f1,2 >"$dir/many"
    cmp "$dir/one" "$dir/many" || {
        echo "$ranks ranks give another tree" >&2
        exit 1
    }
done
printf 'a,b\n0,1\n1,0\n2,1\n' >"$dir/bad.csv"
if $run 3 "$build/tests/ranks" "$dir/bad.csv" >"$dir/out" 2>&1; then
    echo "a bad file was taken" >&2
    exit 1
fi
grep -q "more than two states" "$dir/out"
