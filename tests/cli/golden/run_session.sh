for i in 1 2; do lathe run m.gguf "Once upon a time" -n 5 --temp 0 --session s --json -q | grep -o "\"text\":[^,]*,[^,]*,\|\"n_reused\":[0-9]*"; done
