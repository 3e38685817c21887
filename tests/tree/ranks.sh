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
# columns of several states, gaps, real ones, resamples: every rank holds the table, the file of edges is the same
awk 'BEGIN { srand(5); print "a,b,c,d,e,f"; for (t = 0; t < 300; t++) { a = int(4 * rand()); b = rand() < 0.8 ? a : int(4 * rand());
    c = b + rand(); d = c + rand(); e = rand() < 0.1 ? "NA" : (a > 1 ? "x" : "y"); f = rand() < 0.1 ? "NA" : d + rand();
    print a "," b "," c "," d "," e "," f } }' >"$dir/kinds.csv"
cut -d, -f1,2,5 "$dir/kinds.csv" >"$dir/states.csv"
cut -d, -f3,4 "$dir/kinds.csv" >"$dir/real.csv"
for table in kinds states real; do
    "$build/lathe" tree learn "$dir/$table.csv" -q --bootstrap 20 -o "$dir/one.csv"
    for ranks in 1 2 3; do
        $run $ranks "$build/lathe" tree learn "$dir/$table.csv" --mpi -q --bootstrap 20 -o "$dir/many.csv" 2>/dev/null
        cmp "$dir/one.csv" "$dir/many.csv" || {
            echo "$table: $ranks ranks give other edges" >&2
            exit 1
        }
    done
done
printf 'a,b\n0,1\n1,0\n2\n' >"$dir/bad.csv"
if $run 3 "$build/tests/ranks" "$dir/bad.csv" >"$dir/out" 2>&1; then
    echo "a bad file was taken" >&2
    exit 1
fi
grep -q "line 4" "$dir/out"
