mkfifo pipe
echo 1 403 407 261 378 > pipe &
lathe run m.gguf --ids pipe -n 4 --temp 0 --cache-type f32 -q
