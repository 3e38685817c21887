#!/bin/sh
# run_blocks.sh BUILD - runs the commands of every fenced block marked `console` in README.md and docs/, page by page, in an empty
# folder with the demo model. A command that fails fails the test; `console skip: REASON` passes a block over.
set -eu
build=$1
top=$(pwd)
export PATH="$build:$PATH" LATHE_MODEL="$top/models/lathe-target.gguf" LATHE_THREADS=1
[ -f "$LATHE_MODEL" ] || exit 77
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
for page in README.md $(find docs -name '*.md' | sort); do
    awk '/^```console *$/ { on = 1; next } /^```/ { on = 0 } on && /^\$ / { print substr($0, 3) }' "$page" >"$tmp/commands"
    rm -rf "$tmp/folder"
    mkdir "$tmp/folder"
    while read -r line; do
        n=$((n + 1))
        (cd "$tmp/folder" && sh -c "$line") </dev/null >"$tmp/out" 2>&1 || {
            echo "$page: '$line' failed:" >&2
            cat "$tmp/out" >&2
            exit 1
        }
    done <"$tmp/commands"
done
[ "$n" -gt 0 ] || {
    echo "no command found; the blocks' mark must have changed" >&2
    exit 1
}
echo "$n commands"
