#!/bin/sh
# check-readme.sh BUILD - every verb of the program has a row in README.md, and no row names a verb that is not there.
set -eu
cd "$(dirname "$0")/.."
build=$1
verbs=$("$build/lathe" help | sed -n 's/^  \([a-z][a-z -]*[a-z]\)   *.*/\1/p' | grep -v '^lathe ')
bad=0
echo "$verbs" | while read -r verb; do
    grep -q "^| \`$verb\` |" README.md || {
        echo "README.md has no row for 'lathe $verb'" >&2
        exit 1
    }
done || bad=1
sed -n 's/^| `\([a-z][a-z -]*\)` |.*/\1/p' README.md | while read -r row; do
    echo "$verbs" | grep -qx "$row" || {
        echo "README.md has a row for '$row', which is no verb" >&2
        exit 1
    }
done || bad=1
exit $bad
