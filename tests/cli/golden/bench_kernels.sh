LATHE_CPU=scalar lathe bench --kernels --rows 1 --json -q | tr '{' '\n' | sed -n 's/.*"name":"\([^"]*\)","isa":"\([^"]*\)","shape":"\([^"]*\)".*/\1 \2 \3/p'
LATHE_CPU=ggml lathe bench --kernels
