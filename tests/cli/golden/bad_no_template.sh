lathe run m.gguf -i 2>&1 | cut -c 1-90
