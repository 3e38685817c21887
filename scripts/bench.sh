#!/bin/sh
# bench.sh BUILD [MODEL...] - speed of this build on the models given, or on synthetic ones of 1M and 100M parameters.
set -eu
build=$1
shift
if [ $# -eq 0 ]; then
    for shape in 1M 100M; do
        file=$build/bench-$shape-q4_0.gguf
        [ -f "$file" ] || "$build/lathe" synth --arch llama --shape $shape --type q4_0 -o "$file"
        set -- "$@" "$file"
    done
fi
for model in "$@"; do
    "$build/lathe" bench -m "$model" --depths 0,2048
done
