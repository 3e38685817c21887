printf 'a,b,c\n0,0,1\n1,1,1\n0,0,0\n1,1,0\n0,1,1\n1,0,1\n0,0,0\n1,1,0\n' >t.csv
printf 'a,b\n' >no.txt
printf 'a,x\n' >wrong.txt
lathe tree learn t.csv --blacklist no.txt --edges -q
lathe tree learn t.csv --blacklist no.txt --whitelist wrong.txt
echo "exit $?"
lathe tree learn t.csv --whitelist no.txt --algo nj
echo "exit $?"
printf '2\na 0 1\nb 2 0\n' >d.phy
lathe tree learn --dist d.phy
echo "exit $?"
