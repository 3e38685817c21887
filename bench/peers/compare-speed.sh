#!/bin/sh
# compare-speed.sh LATHE LLAMA_BIN [ROUNDS] - llama-bench and lathe bench in turns, one thread, as a Markdown table:
# tokens per second (median of ROUNDS, 5 unless given) and lathe's divided by llama.cpp's.
# SHAPES, TYPES and DEPTHS (of the 100M shape) are taken from the environment. Both run with their own defaults but for the
# KV cache (f16) and fused attention (on).
set -eu
lathe=${1:?usage: compare-speed.sh LATHE LLAMA_BIN [ROUNDS]}
peer=${2:?}
rounds=${3:-5}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
echo "| model | type | depth | step | llama.cpp | lathe | lathe / llama.cpp |"
echo "|---|---|---|---|---|---|---|"
for shape in ${SHAPES:-1M 100M}; do
    for type in ${TYPES:-q4_0 q8_0 q4_K}; do
        model=$tmp/$shape-$type.gguf
        if ! "$lathe" synth --arch llama --shape "$shape" --type "$type" -q -o "$model" >/dev/null; then
            echo "| $shape | $type | | | | | no such model |"
            continue
        fi
        for depth in $([ "$shape" = 1M ] && echo 0 || echo "${DEPTHS:-0}"); do
            rm -f "$tmp"/speed.*
            round=0
            while [ $round -lt "$rounds" ]; do
                # llama-bench's two tests, prompt and answer, come one object a line, in this order
                "$peer/llama-bench" -m "$model" -t 1 -p 512 -n 64 -d "$depth" -r 1 -fa 1 -o jsonl 2>/dev/null |
                    sed -n 's/.*"avg_ts": \([0-9.]*\).*/\1/p' >"$tmp/theirs"
                sed -n 1p "$tmp/theirs" >>"$tmp/speed.theirs.prompt"
                sed -n 2p "$tmp/theirs" >>"$tmp/speed.theirs.answer"
                "$lathe" bench -m "$model" -t 1 --n-prompt 512 -n 64 -d "$depth" -r 1 -fa on --json -q --no-progress \
                    2>/dev/null >"$tmp/ours"
                sed -n 's/.*"prefill":\[{[^}]*"tokens_per_s":\([0-9.e+]*\).*/\1/p' "$tmp/ours" >>"$tmp/speed.ours.prompt"
                sed -n 's/.*"decode":\[{[^}]*"tokens_per_s":\([0-9.e+]*\).*/\1/p' "$tmp/ours" >>"$tmp/speed.ours.answer"
                round=$((round + 1))
            done
            for step in prompt answer; do
                awk -v m="$shape | $type | $depth | $step" -v a="$(median "$tmp/speed.theirs.$step")" \
                    -v b="$(median "$tmp/speed.ours.$step")" \
                    'BEGIN { if (a > 0) printf "| %s | %.0f | %.0f | %.2f |\n", m, a, b, b / a; else printf "| %s | failed | | |\n", m }'
            done
        done
        rm -f "$model"
    done
done
