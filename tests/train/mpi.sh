#!/bin/sh
# mpi.sh BUILD - two processes and one with the same global batch: the same curve to rounding, the same bits with
# --reduce exact; and the files are written once. Registered in builds with LATHE_WITH_MPI only.
set -eu
lathe=$1/lathe
command -v mpirun >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
i=0
while [ $i -lt 400 ]; do
    echo "the cat $((i % 7)) sat on mat $((i % 5)) and saw dog $((i % 3))"
    i=$((i + 1))
done >"$dir/text.txt"
flags="--data $dir/text.txt --tokenizer bytes --layers 1 --embd 32 --heads 2 --heads-kv 2 --ff 64 --ctx 32 --steps 12 \
--eval-every 6 -q --no-progress --seed 3"
two="mpirun --oversubscribe --mca mpi_yield_when_idle 1 -n 2 $lathe"
# shellcheck disable=SC2086
{
    $lathe train $flags --batch 2 --accum 2 -o "$dir/one" >/dev/null
    $two train $flags --batch 2 -o "$dir/two" >"$dir/out"
    $lathe train $flags --batch 2 --accum 2 --reduce exact -o "$dir/exact1" >/dev/null
    $two train $flags --batch 2 --reduce exact -o "$dir/exact2" >/dev/null
}
[ "$(wc -l <"$dir/two/metrics.jsonl")" = 12 ]
[ "$(grep -c parameters "$dir/out")" = 1 ]
cmp "$dir/exact1/model.gguf" "$dir/exact2/model.gguf"
loss() { sed -n 's/.*"step": 12, "loss": \([0-9.]*\).*/\1/p' "$1/metrics.jsonl"; }
awk -v a="$(loss "$dir/one")" -v b="$(loss "$dir/two")" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-5 * a && -d < 1e-5 * a) }'
# Optimisers of matrices are divided: states come together in checkpoints, so that a run goes on to the bit, and each
# optimiser gives the bits of one process.
# shellcheck disable=SC2086
for optimizer in muon soap; do
    exact="train $flags --batch 2 --reduce exact --optimizer $optimizer --schedule constant"
    $lathe $exact --accum 2 -o "$dir/$optimizer-1" >/dev/null
    $two $exact --steps 6 --save-every 3 -o "$dir/$optimizer-2" >/dev/null
    $two $exact --resume -o "$dir/$optimizer-2" >/dev/null
    cmp "$dir/$optimizer-1/model.gguf" "$dir/$optimizer-2/model.gguf"
done
# An error of all ends all, with one status.
# shellcheck disable=SC2086
if $two train $flags --batch 2 --init "$dir/none.gguf" -o "$dir/bad" >/dev/null 2>&1; then exit 1; fi
