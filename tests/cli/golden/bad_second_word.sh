lathe ngram frobnicate
