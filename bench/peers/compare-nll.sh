#!/bin/sh
# compare-nll.sh LATHE LLAMA_BIN TEXT - how well each family's random model predicts a text: by llama-perplexity, by lathe, and
# in double precision (tests/reference/nll_double.py), on the same ids, as a Markdown table. f32 weights and cache, explicit
# attention, 4 chunks of 256 tokens of the first 20,000 bytes, one thread. The differences are relative ones of the mean
# negative log-likelihood; llama-perplexity prints four decimals of the perplexity: 7e-9 at a perplexity of 1,000.
# PYTHON (python3; needs numpy) and FAMILIES are taken from the environment.
set -eu
lathe=${1:?usage: compare-nll.sh LATHE LLAMA_BIN TEXT}
peer=${2:?}
text=${3:?}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
head -c 20000 "$text" >"$tmp/text"
set -- -f "$tmp/text" -c 256 -ctk f32 -ctv f32 -fa off --chunks 4 -t 1
echo "| family | double | llama.cpp | lathe | lathe to double | llama.cpp to double | lathe to llama.cpp |"
echo "|---|---|---|---|---|---|---|"
for family in ${FAMILIES:-llama qwen2 qwen3 gemma gemma2 gemma3 phi3 gpt2 gptneox stablelm opt}; do
    model=$tmp/$family.gguf
    "$lathe" synth --arch "$family" --shape 1M --type f32 -q -o "$model" >/dev/null
    "$lathe" tokenize -m "$model" -f "$tmp/text" --bos --json -q | sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/' | tr , ' ' >"$tmp/ids"
    double=$("$python" "$here/tests/reference/nll_double.py" "$model" "$tmp/ids" | cut -d' ' -f2)
    if [ "$family" = opt ]; then # llama.cpp has no such family
        theirs=""
    else
        # Its log is written by a thread that the end of the program may cut off: tried until the result is there.
        theirs=""
        for _ in 1 2 3 4 5 6 7 8; do
            "$peer/llama-perplexity" -m "$model" "$@" >"$tmp/theirs.out" 2>"$tmp/theirs.log" </dev/null || true
            theirs=$(cat "$tmp/theirs.out" "$tmp/theirs.log" | sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p')
            [ -z "$theirs" ] || break
        done
        [ -n "$theirs" ] || grep -i 'error\|assert\|fail\|unknown' "$tmp/theirs.log" | tail -2 >&2
    fi
    ours=$("$lathe" eval -m "$model" --convention llama.cpp "$@" --json -q --no-progress |
        sed -n 's/.*"perplexity":\([0-9.e+]*\).*/\1/p')
    awk -v f="$family" -v d="$double" -v a="$theirs" -v b="$ours" '
        function gap(x, y) { if (x == "" || y == "") return ""; x = log(x) / log(y) - 1; return sprintf("%.1e", x < 0 ? -x : x) }
        BEGIN { printf "| %s | %.4f | %s | %.4f | %s | %s | %s |\n", f, d, a == "" ? "none" : a, b, gap(b, d), gap(a, d), gap(b, a) }'
    rm -f "$model"
done
