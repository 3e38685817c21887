# Real columns below a discrete one: a gap in either is filled from the other; hidden nodes stay inside.
printf 'kind,size\nsmall,1.5\nsmall,0.5\nbig,4.5\nbig,5.5\nsmall,1\nbig,5\n' >table.csv
lathe tree learn table.csv -q -o model.json || exit
lathe tree infer model.json --evidence kind=big --query size
lathe tree infer model.json --evidence size=1.25 --query kind --map
printf 'kind,size\nNA,5\nsmall,NA\n' >gaps.csv
lathe tree impute model.json gaps.csv
lathe tree sample model.json -n 2 -o rows.csv && head -1 rows.csv
lathe tree gen --shape hmm --size 3 -n 400 -q -o h.csv
lathe tree learn h.csv --algo clrg -q -o hidden.json || exit
lathe tree sample hidden.json -n 3 -o rows.csv && head -1 rows.csv
lathe tree learn h.csv --algo nj --dim 5 -q -o no.json
