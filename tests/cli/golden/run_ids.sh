echo "1 403 407 261 378" >ids; lathe run m.gguf --ids ids -n 5 --temp 0 -q
