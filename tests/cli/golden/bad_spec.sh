# What cannot go together is said, with exit status 2; files that are none with 1.
try() {
    lathe run m.gguf Once -n 4 -q "$@"
    echo $?
}
echo Once >p.txt
echo '[{"name": "a", "proposer": "suffix"}]' >arms.json
echo 'no cache' >bad.lcache
try --spec none --spec-len 4
try --spec none --controller ucb
try --spec none --spec-tree sequoia:4
try --spec suffix --arms arms.json
try --arms arms.json --spec-len 4
try --spec suffix+suffix
try --spec nothing
try --spec suffix --verify block
try --spec suffix --verify greedy --temp 0.8
try --spec suffix --spec-tree beam:2,2
try --spec draft:m.gguf --spec-tree beam:0
try --spec draft:m.gguf --verify block --spec-tree beam:2
try --spec draft:m.gguf --draft-counts bad.lcache
try --spec draft:m.gguf --draft-head 20 --draft-counts bad.lcache
try --spec draft:p.txt
try --spec ngram:bad.lcache
try --spec suffix --spec-len 2000
try --controller fixed:nobody
try --spec none --stats s.jsonl
try --spec none --compare
lathe run m.gguf --prompts p.txt -q --stats s.jsonl
echo $?
lathe run m.gguf --prompts p.txt -q -o answers.html
echo $?
