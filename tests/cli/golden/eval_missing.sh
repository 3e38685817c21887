lathe eval -m m.gguf -f nothing.txt
