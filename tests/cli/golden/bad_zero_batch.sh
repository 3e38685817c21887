lathe run m.gguf hello -b 0
