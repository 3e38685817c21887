# The running perplexities of llama-perplexity, to 1 in its last digit.
head -c 20000 "$LATHE_SHARED/data/text/tinystories_2MiB.txt" >t
for want in 1:3.4636 2:4.5649 3:6.0210 4:6.0463 5:5.6254 6:5.6338 7:5.9387 8:5.6998; do
    lathe eval -m m.gguf -f t --convention llama.cpp -c 256 --chunks ${want%:*} --cache-type f32 --json -q |
        grep -o '"perplexity":[0-9.]*' | awk -F: -v want=${want#*:} '{ d = $2 - want; print (d * d <= 1.5e-4 ^ 2 ? "same" : $2) }'
done
