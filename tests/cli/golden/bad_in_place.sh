lathe quantize m.gguf m.gguf q8_0
