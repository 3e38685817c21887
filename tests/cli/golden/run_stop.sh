lathe run m.gguf "Once upon a time" -n 50 --temp 0 -q --stop "little girl,park"
