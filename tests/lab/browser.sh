#!/bin/sh
# browser.sh BUILD - a lab's report, and the page of an answer where a model is at hand, in a real browser: the script
# runs, nothing is refused, no two texts of a drawing overlap. Skipped (77) where there is no chromium.
set -eu
build=$(cd "$1" && pwd)
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$build/lathe" lab muon-tail --exact-only --quick -q -o "$dir/lab" >/dev/null 2>&1 || exit 1
cat >"$dir/check.js" <<'JS'
<script>
let overlaps = 0, texts = 0;
for (const svg of document.querySelectorAll('svg')) {
    const boxes = [...svg.querySelectorAll('text')].map(t => t.getBoundingClientRect());
    texts += boxes.length;
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) overlaps++;
    }));
}
document.documentElement.dataset.texts = texts > 8 ? 'some' : 'few';
document.documentElement.dataset.overlaps = overlaps;
document.documentElement.dataset.wide = document.documentElement.scrollWidth > innerWidth ? 'yes' : 'no';
</script>
JS
look() { # PAGE READY: as the script leaves it
    sed -e "/<\/body>/{
r $dir/check.js
}" "$1" >"$dir/page.html"
    "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$dir/profile" \
        --window-size=900,800 --virtual-time-budget=2000 --dump-dom "file://$dir/page.html" >"$dir/dom" 2>/dev/null || exit 77
    for want in "$2" 'data-texts="some"' 'data-overlaps="0"' 'data-wide="no"'; do
        grep -q "$want" "$dir/dom" || { echo "$1 lacks $want:"; head -c 600 "$dir/dom"; exit 1; }
    done
}
look "$dir/lab/report.html" 'data-ready="1"'
model=${LATHE_SHARED:-../shared}/models/stories260K-f32.gguf
[ -f "$model" ] || exit 0
"$build/lathe" run "$model" "Once upon a time, there was a little girl. Once upon a time, there was" -n 80 --temp 0 -q \
    --spec lookup+suffix --controller ucb -o "$dir/answer.html" || exit 1
look "$dir/answer.html" 'data-ready='
