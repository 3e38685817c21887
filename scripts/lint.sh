#!/bin/sh
# lint.sh - what grep can see: layers, banned functions, printing below cli/, file length, trailing blanks.
set -u
cd "$(dirname "$0")/.."
bad=0
complain() {
    echo "lint: $1" >&2
    bad=1
}
sh scripts/check-layers.sh || bad=1
hits=$(git grep -nE '(^|[^A-Za-z0-9_])(atoi|atof|strcpy|strcat|sprintf|gets|strtok|rand|srand|alloca|setjmp) ?\(' -- 'src/*.c' 'src/*.h' | grep -vE ':[[:space:]]*(/?\*|//)' || true)
[ -z "$hits" ] || complain "banned functions:
$hits"
hits=$(git grep -nE '(^|[^a-z_])(printf|puts|abort|exit) ?\(|fprintf\(stderr' -- 'src/*.c' ':!src/cli' | grep -vE 'snprintf|vsnprintf' || true)
[ -z "$hits" ] || complain "printing or ending the program in the library:
$hits"
hits=$(git grep -nE '[[:blank:]]+$' -- '*.c' '*.h' '*.sh' '*.cmake' 'CMakeLists.txt' || true)
[ -z "$hits" ] || complain "trailing blanks:
$hits"
long=$(git ls-files 'src/*.c' 'src/*.h' 'include/*.h' | xargs wc -l | awk '$2 != "total" && $1 > 1200 { print $2 " has " $1 " lines" }')
[ -z "$long" ] || complain "files over 1,200 lines:
$long"
exit $bad
