#!/bin/sh
# test.sh BUILD fast|all - runs ctest and ends with 'N passed, N failed, N skipped'. Test functions are counted
# one by one where a program has several; a program that dies counts as one failure.
set -u
build=$1
set_=${2:-fast}
log=$build/test.log
if [ "$set_" = fast ]; then select="-L fast"; else select=""; fi
export LSAN_OPTIONS="suppressions=$(pwd)/tests/lsan.supp:print_suppressions=0 ${LSAN_OPTIONS:-}" # by those with ASan
export TSAN_OPTIONS="suppressions=$(pwd)/tests/tsan.supp ${TSAN_OPTIONS:-}" # read by builds with ThreadSanitizer alone
# shellcheck disable=SC2086
ctest --test-dir "$build" $select --output-on-failure -j "${TEST_JOBS:-2}" >"$log" 2>&1
status=$?
grep -E '^ *[0-9]+/[0-9]+ Test|tests passed|Failed|\*\*\*' "$log" | tail -n 400
if [ $status -ne 0 ]; then
    echo "--- output of what failed"
    tail -n 200 "$log"
fi
last=$build/Testing/Temporary/LastTest.log
whole=$(grep -c '[*][*][*]Skipped' "$log") # programs that skipped everything leave no trace in LastTest.log
awk -v status=$status -v whole="$whole" '
    /^[0-9]+\/[0-9]+ Testing: / { program++; inner_ok = 0; inner_bad = 0 }
    /^\[       OK \]/ { inner_ok++ }
    /^\[  SKIPPED \] [A-Za-z0-9_]+$/ { skipped_line[$0 program] = 1 }
    /^Test Passed\./ { ran++; passed += inner_ok ? inner_ok : 1 }
    /^Test Failed\./ || /^Test Timeout/ || /^Test Killed/ { ran++; failed++; passed += inner_ok }
    END {
        n = whole
        for (k in skipped_line) n++
        if (!ran) { failed++ }
        if (status && !failed) failed = 1
        printf "%d passed, %d failed, %d skipped\n", passed, failed, n
        exit failed > 0
    }' "$last"
exit $status
