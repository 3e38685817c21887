# Eight rows worked by hand: P(Z=1 | X=1) = .75^2 + .25^2 = .625; the scores sum to -14.5425.
printf 'X,Y,Z\n0,0,0\n0,0,0\n0,0,1\n0,1,1\n1,1,1\n1,1,1\n1,1,0\n1,0,0\n' >table.csv
lathe tree learn table.csv -q -o model.json || exit
lathe tree infer model.json --evidence X=1 --query Z,Y
lathe tree infer model.json --evidence X=1 --map
lathe tree score model.json table.csv
printf 'X,Y,Z\n1,NA,1\n0,0,NA\n' >gaps.csv
lathe tree impute model.json gaps.csv
lathe tree sample model.json -n 500 -o rows.csv
lathe tree learn rows.csv -q --edges | cut -d, -f1,2
lathe tree infer model.json --query Q
