#!/bin/sh
# compare-speed.sh LATHE LLAMA_BIN [ROUNDS] - llama-bench and lathe bench in turns, as a Markdown table: tokens per second
# (median of ROUNDS, 5 unless given) and lathe's divided by llama.cpp's.
#
# Method. In each round lathe runs once and llama-bench twice, with fused attention on and off; of these two the better median
# counts, for each step by itself, and is named. Same file, same threads, f16 cache, batches of 512, weights repacked by both,
# random tokens, logits of the prompt's last token and of each answer's, no sampling; both warm up inside of each run. A run
# repeats its measurement REPEATS times and gives the median: more often for small models, whose answers last milliseconds.
#
# From the environment, each a list where that makes sense: SHAPES (1M 10M 100M 1B), TYPES (q4_0 q8_0 q4_K), THREADS (1),
# DEPTHS (default: 0, from 100M on 0 and 2048), N_PROMPT (512), N_ANSWER (64), ARCH (llama), FOLDER (where models are kept
# from call to call; else a temporary one), RUN (a command before each run, as 'chrt -r 30').
set -eu
lathe=${1:?usage: compare-speed.sh LATHE LLAMA_BIN [ROUNDS]}
peer=${2:?}
rounds=${3:-5}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
folder=${FOLDER:-$tmp}
mkdir -p "$folder"
n_prompt=${N_PROMPT:-512}
n_answer=${N_ANSWER:-64}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# peer_run ON|OFF: appends the medians of one run to speed.fa-on.prompt and its like
peer_run() {
    ${RUN:-} "$peer/llama-bench" -m "$model" -t "$threads" -p "$n_prompt" -n "$n_answer" -d "$depth" -r "$repeats" -fa "$1" \
        -ctk f16 -ctv f16 -o jsonl 2>/dev/null | sed -n 's/.*"samples_ts": \[ *\([^]]*\)\].*/\1/p' >"$tmp/theirs"
    for line in 1 2; do # the prompt's object comes first
        sed -n "${line}p" "$tmp/theirs" | tr ', ' '\n\n' | sed '/^$/d' >"$tmp/samples"
        [ $line = 1 ] && step=prompt || step=answer
        median "$tmp/samples" >>"$tmp/speed.fa-$1.$step"
    done
}

our_run() {
    ${RUN:-} "$lathe" bench -m "$model" -t "$threads" --n-prompt "$n_prompt" -n "$n_answer" -d "$depth" -r "$repeats" \
        --json -q --no-progress >"$tmp/ours"
    sed -n 's/.*"prefill":\[{[^}]*"tokens_per_s":\([0-9.e+]*\).*/\1/p' "$tmp/ours" >>"$tmp/speed.ours.prompt"
    sed -n 's/.*"decode":\[{[^}]*"tokens_per_s":\([0-9.e+]*\).*/\1/p' "$tmp/ours" >>"$tmp/speed.ours.answer"
}

echo "| model | type | threads | depth | step | llama.cpp (attention) | lathe | lathe / llama.cpp |"
echo "|---|---|---|---|---|---|---|---|"
for shape in ${SHAPES:-1M 10M 100M 1B}; do
    case $shape in
    1M) depths=${DEPTHS:-0} repeats=${REPEATS:-20} ;;
    10M) depths=${DEPTHS:-0} repeats=${REPEATS:-5} ;;
    *) depths=${DEPTHS:-0 2048} repeats=${REPEATS:-1} ;;
    esac
    for type in ${TYPES:-q4_0 q8_0 q4_K}; do
        model=$folder/${ARCH:-llama}-$shape-$type.gguf
        if [ ! -f "$model" ] && ! "$lathe" synth --arch "${ARCH:-llama}" --shape "$shape" --type "$type" -q -o "$model" >/dev/null
        then
            echo "| $shape | $type | | | | | no such model | |"
            continue
        fi
        for threads in ${THREADS:-1}; do
            for depth in $depths; do
                rm -f "$tmp"/speed.*
                round=0
                while [ $round -lt "$rounds" ]; do
                    peer_run on
                    our_run
                    peer_run off
                    round=$((round + 1))
                done
                for step in prompt answer; do
                    awk -v m="$shape | $type | $threads | $depth | $step" -v on="$(median "$tmp/speed.fa-on.$step")" \
                        -v off="$(median "$tmp/speed.fa-off.$step")" -v b="$(median "$tmp/speed.ours.$step")" '
                        function show(x) { return sprintf(x < 100 ? "%.1f" : "%.0f", x) }
                        BEGIN {
                            a = on + 0 > off + 0 ? on + 0 : off + 0
                            how = on + 0 > off + 0 ? "fused" : "plain"
                            if (a > 0) printf "| %s | %s (%s) | %s | %.2f |\n", m, show(a), how, show(b), b / a
                            else printf "| %s | failed | %s | |\n", m, show(b)
                        }'
                done
            done
        done
        [ "$folder" != "$tmp" ] || rm -f "$model"
    done
done
