echo 1 403 407 261 378 >ids; lathe logits -m m.gguf --ids ids --top 1 --cache-type f32 -q | tail -n 1 | grep -o "\[432,-0.031702"
