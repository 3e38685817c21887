lathe run m.gguf hello --logit-bias 9999+1
