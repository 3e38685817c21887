lathe run m.gguf hello --logit-bias 7
