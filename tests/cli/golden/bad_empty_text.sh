lathe eval -m m.gguf -p ""
