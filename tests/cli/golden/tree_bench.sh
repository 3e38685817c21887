lathe tree bench --p 5 --rho 0.6 -n 20,40 --trials 2000 --seed 3 -t 1 --no-progress
lathe tree bench --trials 0
echo "exit $?"
