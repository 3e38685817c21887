# A page beside nothing on stdout; five drawings, the answer's text, its data; nothing is loaded from elsewhere.
P="Once upon a time, there was a little girl. Once upon a time, there was"
lathe run m.gguf "$P" -n 24 --temp 0 --exact -q --spec suffix --spec-len 4 -o page.html
grep -o '<svg' page.html | wc -l | tr -d ' '
lathe run m.gguf "$P" -n 24 --temp 0 --exact -q >text
head -c 40 text | head -1 >begin
grep -c -F "$(cat begin)" page.html
sed -n 's/.*"n_predicted":\([0-9]*\).*/\1/p' page.html
grep -c 'src="http\|href="http' page.html
# plain decoding has a page without drawings
lathe run m.gguf "$P" -n 4 --temp 0 -q --spec none -o plain.html
grep -o '<svg' plain.html | wc -l | tr -d ' '
