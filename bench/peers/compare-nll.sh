#!/bin/sh
# compare-nll.sh LATHE LLAMA_BIN TEXT - perplexity of a text by llama-perplexity and by lathe, a random model a family,
# as a Markdown table. f32 weights and cache, explicit attention, 4 chunks of 256 tokens, one thread.
set -eu
lathe=${1:?usage: compare-nll.sh LATHE LLAMA_BIN TEXT}
peer=${2:?}
text=${3:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
head -c 20000 "$text" >"$tmp/text"
set -- -f "$tmp/text" -c 256 -ctk f32 -ctv f32 -fa off --chunks 4 -t 1
echo "| family | llama.cpp | lathe | relative difference |"
echo "|---|---|---|---|"
for family in ${FAMILIES:-llama qwen2 qwen3 gemma gemma2 gemma3 phi3 gpt2 gptneox stablelm}; do
    model=$tmp/$family.gguf
    "$lathe" synth --arch "$family" --shape 1M --type f32 -q -o "$model" >/dev/null
    "$peer/llama-perplexity" -m "$model" "$@" >"$tmp/theirs.out" 2>"$tmp/theirs.log" </dev/null || true
    theirs=$(cat "$tmp/theirs.out" "$tmp/theirs.log" | sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p')
    ours=$("$lathe" eval -m "$model" --convention llama.cpp "$@" --json -q --no-progress 2>"$tmp/ours.log" |
        sed -n 's/.*"perplexity":\([0-9.e+]*\).*/\1/p') || true
    if [ -z "$theirs" ] || [ -z "$ours" ]; then
        echo "| $family | ${theirs:-failed} | ${ours:-failed} | |"
        [ -n "$theirs" ] || grep -i 'error\|assert\|fail\|unknown' "$tmp/theirs.log" | tail -2 >&2
        [ -n "$ours" ] || tail -2 "$tmp/ours.log" >&2
        continue
    fi
    awk -v f="$family" -v a="$theirs" -v b="$ours" \
        'BEGIN { d = b / a - 1; if (d < 0) d = -d; printf "| %s | %.4f | %.4f | %.1e |\n", f, a, b, d }'
    rm -f "$model"
done
