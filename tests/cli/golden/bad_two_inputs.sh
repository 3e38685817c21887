lathe run m.gguf hello --ids ids
