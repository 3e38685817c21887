printf "/set temp 0\nHello\n/set top-kk 3\n/show\n/save c\n/clear\n/show\n/load c\n/load nothing\n/what\n/bye\nnever\n" | lathe run m.gguf -i --chat-template chatml --cache-type f32 -n 6 --seed 3
