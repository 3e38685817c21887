# The shared library through Python's ctypes.
set -eu
model=${LATHE_SHARED:-../shared}/models/stories260K-f32.gguf
[ -f "$model" ] || exit 77
[ -z "${LATHE_SANITIZE:-}" ] || exit 77 # the interpreter does not bring the sanitizer's runtime
command -v python3 >/dev/null || exit 77
python3 tests/api/from_python.py "$1/liblathe.so" "$model"
