lathe run m.gguf "Once upon a time" -n 5 --temp 0 -q -o out.txt; cat out.txt
