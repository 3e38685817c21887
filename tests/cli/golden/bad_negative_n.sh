lathe run m.gguf hello -n -5
