#!/bin/sh
# compare-train.sh LATHE PYTHON [ROUNDS] - training tokens per second of lathe and of PyTorch (eager, torch.compile) on the
# same shapes, in turns, as a Markdown table: medians of ROUNDS (5 unless given), each of STEPS steps (4) after a warm-up.
# SHAPES is one of "demo", "gpt2" or both; THREADS (1), OPTIMIZER (adamw or muon). OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE
# are cleared for both sides. PYTHON has torch. Each round's three figures go to stderr, so that rounds can be taken in
# several calls.
set -eu
lathe=${1:?usage: compare-train.sh LATHE PYTHON [ROUNDS]}
python=${2:?}
rounds=${3:-5}
threads=${THREADS:-1}
optimizer=${OPTIMIZER:-adamw}
steps=${STEPS:-4}
here=$(cd "$(dirname "$0")" && pwd)
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
"$python" - "$tmp/data.ltok" <<'P'
import random, struct, sys
random.seed(1)
n = 200000
with open(sys.argv[1], "wb") as f:
    f.write(b"LTOK" + struct.pack("<IIIQ", 1, 2, 2048, n) + bytes(232))
    f.write(b"".join(struct.pack("<H", random.randrange(2048)) for _ in range(n)))
P
echo "| shape | threads | optimiser | eager | compile | lathe | lathe / eager | lathe / compile |"
echo "|---|---|---|---|---|---|---|---|"
for shape in ${SHAPES:-demo gpt2}; do
    case $shape in
    demo) flags="--family llama --layers 6 --embd 256 --heads 8 --heads-kv 4 --ff 704 --ctx 512 --batch 4" ;;
    gpt2) flags="--family gpt2 --layers 2 --embd 768 --heads 12 --heads-kv 12 --ff 3072 --ctx 512 --batch 4" ;;
    *) echo "no shape '$shape'" >&2 && exit 2 ;;
    esac
    rm -f "$tmp"/speed.*
    round=0
    while [ $round -lt "$rounds" ]; do
        # shellcheck disable=SC2086
        "$lathe" train --data "$tmp/data.ltok" -o "$tmp/run" --fresh $flags --optimizer "$optimizer" --lr 0.001 \
            --steps $((steps + 2)) --save-every 0 -t "$threads" -q --no-progress >/dev/null
        sed -n '3,$s/.*"tokens_per_s": \([0-9.]*\).*/\1/p' "$tmp/run/metrics.jsonl" >"$tmp/steps"
        median "$tmp/steps" >>"$tmp/speed.lathe"
        rm -rf "$tmp/run"
        # shellcheck disable=SC2086
        "$python" "$here/train_torch.py" $flags --steps "$steps" --threads "$threads" --optimizer "$optimizer" \
            >>"$tmp/speed.eager"
        # shellcheck disable=SC2086
        "$python" "$here/train_torch.py" $flags --steps "$steps" --threads "$threads" --optimizer "$optimizer" --compile \
            >>"$tmp/speed.compile"
        echo "$shape: lathe $(tail -n 1 "$tmp/speed.lathe"), eager $(tail -n 1 "$tmp/speed.eager"), compile $(tail -n 1 "$tmp/speed.compile")" >&2
        round=$((round + 1))
    done
    awk -v s="$shape | $threads | $optimizer" -v e="$(median "$tmp/speed.eager")" -v c="$(median "$tmp/speed.compile")" \
        -v l="$(median "$tmp/speed.lathe")" \
        'BEGIN { printf "| %s | %.0f | %.0f | %.0f | %.2f | %.2f |\n", s, e, c, l, l / e, l / c }'
done
