# The gradient of an own graph in 40 lines: the specification's numbers; a training loop in 60 lines: it learns.
set -eu
[ "$(wc -l <examples/gradient.c)" -le 40 ]
[ "$(wc -l <examples/training.c)" -le 60 ]
text=$("$1/tests/example_gradient")
[ "$text" = "loss 0.476437
gradient -0.314714 -0.138043
H v 0.380646 -0.874305" ]
"$1/tests/example_training" | awk '/step   1 / { first = $4 } /step 200 / { last = $4 } END { exit !(first > 0.6 && last < 0.02) }'
