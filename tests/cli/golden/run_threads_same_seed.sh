for t in 1 2; do lathe run m.gguf "Once" -n 30 --seed 5 -q -t $t >t$t; done; cmp t1 t2
