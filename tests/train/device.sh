#!/bin/sh
# device.sh BUILD - training on a device whose memory is not ours (a worker of this machine): the losses of training on the
# processor, with what has ops of ours in the middle (dropout, z-loss, a teacher, logits in parts); a name that does not
# exist, and a worker that is not there, are errors.
set -eu
lathe=$1/lathe
[ -z "${LATHE_SANITIZE:-}" ] || exit 77
dir=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill $pid 2>/dev/null || :; fi; rm -rf "$dir"' EXIT
port=$((20000 + ($$ + 7919) % 20000))
"$lathe" worker --listen 127.0.0.1:$port -t 1 -q >"$dir/log" 2>&1 &
pid=$!
i=0
while [ $i -lt 400 ]; do
    echo "the cat $((i % 7)) sat on mat $((i % 5)) and saw dog $((i % 3))"
    i=$((i + 1))
done >"$dir/text.txt"
sleep 1
kill -0 $pid 2>/dev/null || exit 77 # somebody else has the port
train() { "$lathe" train --data "$dir/text.txt" --tokenizer bytes --layers 2 --embd 32 --heads 4 --heads-kv 2 --ff 64 \
    --ctx 128 --batch 2 --steps 6 --eval-every 3 --seed 3 -q --no-progress "$@" >/dev/null; }
loss() { sed -n 's/.*"step": 6, "loss": \([0-9.]*\).*"eval_loss": \([0-9.]*\).*/\1 \2/p' "$1/metrics.jsonl"; }
same() { # two runs to rounding
    echo "$(loss "$1") $(loss "$2")" | awk '{ for (k = 1; k <= 2; k++) { d = $k - $(k + 2); if (!($k > 0 && d < 1e-4 && -d < 1e-4)) exit 1 } }'
}
train -o "$dir/here"
train --device CPU -o "$dir/cpu"
cmp "$dir/here/model.gguf" "$dir/cpu/model.gguf"
train --device 127.0.0.1:$port -o "$dir/there"
same "$dir/here" "$dir/there"
more="--dropout 0.1 --z-loss 1e-4 --distill $dir/here/model.gguf"
# shellcheck disable=SC2086
train $more -o "$dir/more-here"
# shellcheck disable=SC2086
train $more --device 127.0.0.1:$port -o "$dir/more-there"
same "$dir/more-here" "$dir/more-there"
if train --device NONE0 -o "$dir/bad" 2>"$dir/error"; then exit 1; fi
grep -q "no device 'NONE0'; there are: .*CPU" "$dir/error"
kill $pid
wait $pid 2>/dev/null || :
pid=
if train --device 127.0.0.1:$port -o "$dir/bad" 2>"$dir/error"; then exit 1; fi
grep -q 'nobody answers' "$dir/error"
