#!/bin/sh
# check-layers.sh - fails when a room includes a header of a room that is not below it.
# Each row: the rooms that a room may include, itself among them; the table is docs/architecture.md's diagram.
set -eu
cd "$(dirname "$0")/.."
allowed() {
    case $1 in
    base) echo "base version" ;;
    tensor) echo "base tensor" ;;
    model) echo "base tensor model" ;;
    tree) echo "base tree" ;;
    decode | probe | train) echo "base tensor model tree $1" ;;
    media | game) echo "base tensor model tree decode probe train $1" ;;
    lab | serve) echo "base tensor model tree game decode probe train media $1" ;;
    cli) echo "base tensor model tree game decode probe train media lab serve cli version" ;;
    *) echo "" ;;
    esac
}
bad=0
for file in $(find src -name '*.[ch]'); do
    room=$(echo "$file" | cut -d/ -f2)
    for target in $(sed -n 's|^#include "\(lathe/\)\{0,1\}\([a-z]*\)[/.].*|\2|p' "$file" | sort -u); do
        case " base tensor model tree game decode probe train media lab serve cli lathe " in
        *" $target "*) ;;
        *) continue ;; # not a room: a header of a library
        esac
        case " $(allowed "$room") " in
        *" $target "*) ;;
        *)
            echo "$file: room '$room' must not include '$target'" >&2
            bad=1
            ;;
        esac
    done
done
exit $bad
