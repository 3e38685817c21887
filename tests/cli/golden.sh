# Runs tests/cli/golden/NAME.sh in a fresh folder that has m.gguf and compares stdout, stderr and exit status with
# NAME.stdout, NAME.stderr (missing: empty) and NAME.exit (missing: 0). GOLDEN_WRITE=1 writes them instead.
set -u
build=$(cd "$1" && pwd)
cases=$(pwd)/tests/cli/golden
LATHE_SHARED=$(cd "${LATHE_SHARED:-../shared}" 2>/dev/null && pwd)
export LATHE_SHARED
model=$LATHE_SHARED/models/stories260K-f32.gguf
[ -f "$model" ] || exit 77
PATH=$build:$PATH
LATHE_THREADS=1
export PATH LATHE_THREADS
unset LATHE_MODEL LATHE_LOG
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
LATHE_CACHE_DIR=$dir/cache
export LATHE_CACHE_DIR
n_failed=0
for script in "$cases"/*.sh; do
    name=$(basename "$script" .sh)
    mkdir "$dir/$name"
    ln -s "$model" "$dir/$name/m.gguf"
    (cd "$dir/$name" && exec sh "$script" >"$dir/stdout" 2>"$dir/stderr" </dev/null)
    echo $? >"$dir/exit"
    for what in stdout stderr exit; do
        want=$cases/$name.$what
        if [ -n "${GOLDEN_WRITE:-}" ]; then
            rm -f "$want"
            { [ $what = exit ] && [ "$(cat "$dir/exit")" = 0 ]; } || { [ -s "$dir/$what" ] && cp "$dir/$what" "$want"; }
            continue
        fi
        [ -f "$want" ] || { want=$dir/want; { [ $what = exit ] && echo 0; } >"$want"; }
        cmp -s "$want" "$dir/$what" || { echo "$name: $what differs"; diff "$want" "$dir/$what"; n_failed=$((n_failed + 1)); }
    done
done
[ $n_failed -eq 0 ]
