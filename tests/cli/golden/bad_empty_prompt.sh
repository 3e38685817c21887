lathe run m.gguf -p ""
