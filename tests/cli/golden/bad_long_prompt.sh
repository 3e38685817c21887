lathe run m.gguf "one two three four five six seven" -c 4
