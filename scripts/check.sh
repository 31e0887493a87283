#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run test programs one after another: sh check.sh TTAD PROGRAM...
# Prints cmocka's closing lines of each, everything of one that fails, and a last line with the
# sums.  Exits 0 if all passed.
set -u
ttad=$1
shift
passed=0 failed=0 bad=
for t in "$@"; do
    name=${t#*/tests/}
    if TTAD=$ttad "$t" >"$t.log" 2>&1; then
        ok=1
    else
        ok=0
    fi
    n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$t.log" | awk '{n += $1} END {print n + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$t.log" | awk '{n += $1} END {print n + 0}')
    passed=$((passed + n))
    if [ $ok = 1 ] && [ "$n" -gt 0 ]; then
        printf '%-34s ' "$name"
        grep '^\[  PASSED  \]' "$t.log" | tail -n 1
        grep '^skipped' "$t.log"
    else
        [ "$f" -gt 0 ] || f=1 # it died, or ran nothing
        failed=$((failed + f))
        bad="$bad $name"
        printf '%-34s [  FAILED  ]\n' "$name"
        sed 's/^/    /' "$t.log"
    fi
done
[ -z "$bad" ] || echo "failed:$bad"
echo "[==========] $((passed + failed)) test(s) run."
echo "[  PASSED  ] $passed test(s)."
echo "$passed passed, $failed failed"
[ $failed = 0 ]
