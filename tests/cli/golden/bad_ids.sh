echo "1 99999" >ids; lathe run m.gguf --ids ids
