printf "Once\nTwo\n" >p; lathe run m.gguf --prompts p -n 8 --seed 5 -q >all; lathe run m.gguf Two -n 8 --seed 6 --json -q >one
grep -o "\"ids\":[^]]*]" all | tail -n 1 >a; grep -o "\"ids\":[^]]*]" one >b; cmp a b; wc -l <all
