lathe run missing.gguf hello
