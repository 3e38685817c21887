# Two workers: the same greedy text as without them; a worker that is gone, before or during a run, is an
# error of one line.
set -eu
build=$(cd "$1" && pwd)
model=$(cd "${LATHE_SHARED:-../shared}" 2>/dev/null && pwd)/models/stories260K-f32.gguf
[ -f "$model" ] || exit 77
[ -z "${LATHE_SANITIZE:-}" ] || exit 77
LATHE_THREADS=1
export LATHE_THREADS
dir=$(mktemp -d)
pids=
trap 'for p in $pids; do kill $p 2>/dev/null || :; done; rm -rf "$dir"' EXIT
first=$((20000 + $$ % 20000))
second=$((first + 1))
for port in $first $second; do
    "$build/lathe" worker --listen 127.0.0.1:$port -q >"$dir/log$port" 2>&1 &
    pids="$pids $!"
done
sleep 1
for p in $pids; do kill -0 $p 2>/dev/null || exit 77; done # somebody else has the port
"$build/lathe" run "$model" "Once upon a time" -n 40 --temp 0 -q --cache-type f32 </dev/null >"$dir/alone"
timeout 60 "$build/lathe" run "$model" "Once upon a time" -n 40 --temp 0 -q --cache-type f32 \
    --rpc 127.0.0.1:$first,127.0.0.1:$second --tensor-split 2,2,1 </dev/null >"$dir/together"
cmp "$dir/alone" "$dir/together"
"$build/lathe" info --devices --rpc 127.0.0.1:$first >"$dir/devices"
grep -q "^127.0.0.1:$first " "$dir/devices"
for p in $pids; do kill -TERM $p; status=0; wait $p || status=$?; [ $status -eq 143 ]; done
pids=
status=0
"$build/lathe" run "$model" hi -n 1 --rpc 127.0.0.1:$first </dev/null 2>"$dir/error" || status=$?
[ $status -eq 1 ]
[ "$(wc -l <"$dir/error")" -eq 1 ]
grep -q "nobody answers" "$dir/error"
status=0
"$build/lathe" worker --listen 0.0.0.0:$first 2>"$dir/error" || status=$?
[ $status -eq 2 ]
grep -q "i-trust-this-network" "$dir/error"

# Of two workers one is killed while text comes out: one line that names it, exit status 1, no core dump.
for port in $first $second; do
    "$build/lathe" worker --listen 127.0.0.1:$port -q >"$dir/log$port" 2>&1 &
    pids="$pids $!"
done
sleep 1
for p in $pids; do kill -0 $p 2>/dev/null || exit 77; done
killed=${pids##* }
"$build/lathe" synth --arch llama --shape 10M --type f32 -s 1 -o "$dir/synth.gguf" -q
"$build/lathe" run "$dir/synth.gguf" "Once" -n 100000 --ctx 512 --context-shift --ignore-eos --temp 0 -q --stream \
    --rpc 127.0.0.1:$first,127.0.0.1:$second --tensor-split 1,1,1 </dev/null >"$dir/text" 2>"$dir/error" &
run=$!
pids="$pids $run"
tries=0
while [ ! -s "$dir/text" ] && [ $tries -lt 1200 ]; do
    kill -0 $run
    sleep 0.1
    tries=$((tries + 1))
done
[ -s "$dir/text" ]
kill -KILL $killed
status=0
wait $run || status=$?
cat "$dir/error"
[ $status -eq 1 ]
[ "$(wc -l <"$dir/error")" -eq 1 ]
grep -q "^lathe run: worker 127.0.0.1:$second is gone" "$dir/error"
