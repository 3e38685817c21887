printf "a\377" | lathe run m.gguf
