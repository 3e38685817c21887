# The template's text tokenized whole and run as ids gives the conversation's answer; turn by turn it would not.
lathe tokenize -m m.gguf --no-special -p "<|im_start|>user
Hello<|im_end|>
<|im_start|>assistant
" >ids
lathe run m.gguf --ids ids -n 6 --temp 0 -q | tr -d ' \n' >whole
echo Hello | lathe run m.gguf -i --chat-template chatml -n 6 --temp 0 -q | tr -d ' \n' >talk
cmp whole talk && cat talk
