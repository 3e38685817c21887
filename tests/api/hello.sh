# The example is under 60 lines, prints an answer, and says in a line what is wrong.
set -eu
model=${LATHE_SHARED:-../shared}/models/stories260K-f32.gguf
[ "$(wc -l <examples/hello.c)" -lt 60 ]
[ -f "$model" ] || exit 77
text=$("$1/tests/example_hello" "$model" "Once upon a time")
[ -n "$text" ]
status=0
message=$("$1/tests/example_hello" missing.gguf x 2>&1) || status=$?
[ $status -eq 1 ]
[ "$message" = "hello: missing.gguf: No such file or directory" ]
