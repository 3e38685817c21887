#!/bin/sh
# samples.sh BUILD - samples during training change nothing of the run, are cut with it and stand in the report;
# attention that stops at documents gives another run, and needs the tokenizer.
set -eu
lathe=$1/lathe
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
i=0
while [ $i -lt 400 ]; do
    echo "the cat $((i % 7)) sat on mat $((i % 5)) and saw dog $((i % 3))"
    [ $((i % 9)) != 0 ] || echo '<|endoftext|>'
    i=$((i + 1))
done >"$dir/text.txt"
train() { "$lathe" train --data "$dir/text.txt" --vocab 300 --layers 1 --embd 32 --heads 2 --heads-kv 2 --ff 64 --ctx 24 \
    --batch 2 --schedule constant --seed 3 -q --no-progress "$@"; }
train --steps 8 -o "$dir/plain" >/dev/null
train --steps 6 --save-every 4 --sample-every 2 --sample-tokens 12 --sample-prompt 'the cat' -o "$dir/said" >/dev/null
[ "$(wc -l <"$dir/said/samples.jsonl")" = 3 ]
first=$(head -n 2 "$dir/said/samples.jsonl")
rm -r "$dir/said/checkpoint-000006"
train --steps 8 --sample-every 2 --sample-tokens 12 --sample-prompt 'the cat' -o "$dir/said" >/dev/null
[ "$(head -n 2 "$dir/said/samples.jsonl")" = "$first" ]
[ "$(grep -c '"prompt": "the cat"' "$dir/said/samples.jsonl")" = 4 ]
[ "$(grep -c 'Sample after step' "$dir/said/report.html")" -ge 1 ]
[ ! -e "$dir/said/sample.tmp.gguf" ]
cmp "$dir/plain/model.gguf" "$dir/said/model.gguf"
train --steps 8 --attn-reset -o "$dir/reset" >/dev/null
if cmp -s "$dir/plain/model.gguf" "$dir/reset/model.gguf"; then exit 1; fi
if train --steps 9 -o "$dir/reset" 2>"$dir/error"; then exit 1; fi # another run
grep -q attn_reset "$dir/error"
if "$lathe" train --data "$dir/plain/train.ltok" --attn-reset -o "$dir/none" -q 2>"$dir/error"; then exit 1; fi
grep -q 'needs the tokenizer' "$dir/error"
