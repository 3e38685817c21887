echo 1 >ids; lathe run m.gguf --ids ids -n 200 --temp 0 --cache-type f32 -q >out; head -c 464 out | cmp - "$LATHE_SHARED/models/reference/stories260K_greedy_expected.txt"; wc -c <out
