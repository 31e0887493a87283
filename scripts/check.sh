#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run tests one after another: [PYTHON=python3] sh check.sh TTAD TEST...
# A TEST is a cmocka program, or a .py of unittest; both find the daemon's program in $TTAD.
# Prints a line for each, everything of one that fails, and a last line with the sums.  Exits 0 if
# all passed.  What a test printed stays beside TTAD, in tests/.../NAME.log.
set -u
ttad=$1
shift
build=$(dirname "$ttad")
python=${PYTHON:-python3}
limit=900 # seconds; the slowest takes a tenth of it under the sanitizers
case $ttad in
/*) TTAD=$ttad ;;
*) TTAD=$(pwd)/$ttad ;; # Python's are run in their own folders
esac
export TTAD

run() { # test
    case $1 in
    *.py)
        parent=$(dirname "$(dirname "$1")")
        module=${1#"$parent"/}
        (cd "$parent" && exec timeout --foreground $limit "$python" -m unittest \
            "$(echo "${module%.py}" | tr / .)")
        ;;
    *) timeout --foreground $limit "$1" ;;
    esac
}

# Sets n and f: how many tests passed and failed, as the log says.
count() { # log
    counts=$(awk '
/^\[  PASSED  \] [0-9]+ test/ { n += $4 }
/^\[  FAILED  \] [0-9]+ test/ { f += $4 }
/^Ran [0-9]+ tests? in / { n += $2 }
/^(OK|FAILED) \(/ {
    gsub(/expected failures/, "expected") # neither passed nor failed, as what was skipped
    gsub(/unexpected successes/, "failures")
    while (match($0, /[a-z]+=[0-9]+/)) {
        split(substr($0, RSTART, RLENGTH), a, "=")
        $0 = substr($0, RSTART + RLENGTH)
        n -= a[2]
        if (a[1] == "failures" || a[1] == "errors")
            f += a[2]
    }
}
END { print (n > 0 ? n : 0), f + 0 }' "$1")
    n=${counts% *} f=${counts#* }
}

passed=0 failed=0 bad=
for t in "$@"; do
    name=${t#"$build"/tests/}
    name=${name%.py}
    log=$build/tests/$name.log
    mkdir -p "$(dirname "$log")"
    run "$t" >"$log" 2>&1
    status=$?
    count "$log"
    passed=$((passed + n))
    if [ $status = 0 ] && [ "$n" -gt 0 ] && [ "$f" = 0 ]; then
        printf '%-34s [  PASSED  ] %d test(s).\n' "$name" "$n"
        sed -n -e '/^skipped/p' -e 's/^OK (\(skipped.*\))$/    \1/p' "$log"
    else
        [ "$f" -gt 0 ] || f=1 # it died, or ran nothing
        failed=$((failed + f))
        bad="$bad $name"
        printf '%-34s [  FAILED  ] exit status %d\n' "$name" "$status"
        [ $status != 124 ] || echo "    stopped after $limit s"
        sed 's/^/    /' "$log"
    fi
done
[ -z "$bad" ] || echo "failed:$bad"
echo "[==========] $((passed + failed)) test(s) run."
echo "[  PASSED  ] $passed test(s)."
[ $failed = 0 ] || echo "[  FAILED  ] $failed test(s)."
echo "$passed passed, $failed failed"
[ $failed = 0 ]
