lathe run m.gguf hello -n 2 -o no/such/folder/x -q
