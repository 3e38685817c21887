#!/bin/sh
# kernels-nll.sh LATHE TEXT [PIECES] - how far the likelihood of a text is from that of the dequantised weights in f32, by our
# kernels and by ggml's own, as a Markdown table: a random model of each family (ARCHS; SHAPE, 10M) in each type (TYPES), over
# PIECES (2) pieces of 3,000 bytes, a context each. A token's log-likelihood is compared with its own in f32: 'rms' is the root
# mean square of these differences, 'mean' their mean with its standard error, in which signs cancel: what is left of it over
# some thousand tokens is mostly chance.
set -eu
lathe=${1:?usage: kernels-nll.sh LATHE TEXT [PIECES]}
text=${2:?}
pieces=${3:-2}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
nll() { # FILE CPU: a log-likelihood a line
    i=0
    while [ "$i" -lt "$pieces" ]; do
        tail -c +$((3000 * i + 1)) "$text" | head -c 3000 >"$tmp/text"
        LATHE_CPU=$2 "$lathe" logits -m "$1" -f "$tmp/text" -t 1 --top 1 -q --no-progress 2>/dev/null |
            sed -n 's/.*"next_logprob":\([-0-9.e+]*\).*/\1/p'
        i=$((i + 1))
    done
}
echo "| family | type | f32 | rms, ours | ggml | ours / ggml | mean, ours | ggml |"
echo "|---|---|---|---|---|---|---|---|"
for arch in ${ARCHS:-llama qwen2 qwen3 gemma gemma2 gemma3 phi3 gpt2 gptneox stablelm opt}; do
    for type in ${TYPES:-q4_0 q8_0 q4_K q5_K q6_K f16 bf16}; do
        "$lathe" synth --arch "$arch" --shape "${SHAPE:-10M}" --type "$type" -q -o "$tmp/q.gguf" >/dev/null 2>&1 || continue
        rm -f "$tmp/f.gguf"
        "$lathe" quantize "$tmp/q.gguf" "$tmp/f.gguf" f32 -q >/dev/null 2>&1 || continue
        nll "$tmp/f.gguf" '' >"$tmp/f"
        nll "$tmp/q.gguf" '' >"$tmp/a"
        nll "$tmp/q.gguf" ggml >"$tmp/b"
        paste "$tmp/f" "$tmp/a" "$tmp/b" | awk -v m="$arch | $type" '
            { n++; f -= $1; x = $1 - $2; y = $1 - $3; a += x; b += y; aa += x * x; bb += y * y }
            END {
                if (!n) exit 1
                printf "| %s | %.4f | %.2e | %.2e | %.2f | %+.1e +- %.0e | %+.1e +- %.0e |\n", m, f / n, sqrt(aa / n), sqrt(bb / n),
                    (bb ? sqrt(aa / bb) : 0), a / n, sqrt((aa / n - a * a / n / n) / n), b / n, sqrt((bb / n - b * b / n / n) / n)
            }'
        rm -f "$tmp/q.gguf"
    done
done
