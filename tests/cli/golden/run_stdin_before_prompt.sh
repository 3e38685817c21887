printf "Once upon" | lathe run -m m.gguf -p " a time" -n 5 --temp 0 -q
