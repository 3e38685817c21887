lathe run missing.gguf hello --json 2>/dev/null
