printf "Once upon a time" >p.txt; lathe run m.gguf -f p.txt -n 5 --temp 0 -q
