#!/bin/sh
# kernels-nll.sh LATHE TEXT [BYTES] - how far the likelihood of a text is from that of the dequantised weights in f32, by our
# kernels and by ggml's own, as a Markdown table: a random model of each family (ARCHS; SHAPE, 10M) in each type (TYPES).
# NLL is the mean over tokens, which takes signs into account; a figure of a few 1e-4 is chance for either.
set -eu
lathe=${1:?usage: kernels-nll.sh LATHE TEXT [BYTES]}
text=${2:?}
bytes=${3:-4000}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
head -c "$bytes" "$text" >"$tmp/text"
nll() { # FILE CPU
    LATHE_CPU=$2 "$lathe" eval -m "$1" -f "$tmp/text" -t 1 --json -q --no-progress 2>/dev/null |
        sed -n 's/.*"nll_per_token":\([-0-9.e+]*\).*/\1/p'
}
echo "| family | type | f32 | ours - f32 | ggml - f32 |"
echo "|---|---|---|---|---|"
for arch in ${ARCHS:-llama qwen2 qwen3 gemma gemma2 gemma3 phi3 gpt2 gptneox stablelm opt}; do
    for type in ${TYPES:-q4_0 q8_0 q4_K q5_K q6_K f16 bf16}; do
        "$lathe" synth --arch "$arch" --shape "${SHAPE:-10M}" --type "$type" -q -o "$tmp/q.gguf" >/dev/null 2>&1 || continue
        rm -f "$tmp/f.gguf"
        "$lathe" quantize "$tmp/q.gguf" "$tmp/f.gguf" f32 -q >/dev/null 2>&1 || continue
        awk -v m="$arch | $type" -v f="$(nll "$tmp/f.gguf" '')" -v a="$(nll "$tmp/q.gguf" '')" -v b="$(nll "$tmp/q.gguf" ggml)" \
            'BEGIN { printf "| %s | %.5f | %+.6f | %+.6f |\n", m, f, a - f, b - f }'
        rm -f "$tmp/q.gguf"
    done
done
