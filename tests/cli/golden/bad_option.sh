lathe run m.gguf hello --tmep 1
