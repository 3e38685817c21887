lathe run m.gguf hello --samplers "top_k;topp"
