#!/bin/sh
# demo.sh PROGRAM [MODEL] - the main job: text from a model. Takes the project's own model, else a small one from
# LATHE_SHARED, else makes one with random weights (whose text is noise, and says so).
set -eu
program=$1
model=${2:-}
shared=${LATHE_SHARED:-../shared}
cd "$(dirname "$0")/.."
if [ -z "$model" ]; then
    for candidate in models/lathe-target.gguf "$shared/models/stories260K-f32.gguf"; do
        if [ -f "$candidate" ]; then
            model=$candidate
            break
        fi
    done
fi
if [ -z "$model" ]; then
    model=build/demo-1M.gguf
    echo "demo: no trained model at hand; writing one with random weights (its text is noise)"
    "$program" synth --arch llama --shape 1M --type q8_0 -o "$model"
fi
echo "demo: $program info -m $model"
"$program" info -m "$model" | head -n 12
echo
echo "demo: $program run -m $model -p 'Once upon a time' -n 120 --seed 1"
"$program" run -m "$model" -p "Once upon a time" -n 120 --seed 1
echo
echo "demo: done; yours: make demo MODEL=file.gguf"
