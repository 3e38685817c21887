lathe run m.gguf hello --temp nan
