set -eu
model=${LATHE_SHARED:-../shared}/models/stories260K-f32.gguf
[ -f "$model" ] || exit 77
"$1/tests/test_api_from_cxx" "$model"
