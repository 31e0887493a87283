#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# House rules that grep can check: who may include whom, who may call malloc, how long a file is.
set -u
bad=0
say() {
    echo "$1" >&2
    bad=1
}

# folder: what it may include of the project
may() {
    dir=$1
    shift
    allowed=$(echo "$dir $*" | tr ' ' '|')
    for f in $(find "$dir" -maxdepth 2 -name '*.[ch]'); do
        grep -nE '^#include "' "$f" | grep -v '"texts.h"' | grep -vE "\"($allowed)/" | while read -r line; do
            echo "$f:$line: $dir may include: $dir $*"
        done
    done
}
hits=$(
    may base
    may config base
    may runtime base
    may monitor base config
    may engines runtime config base
    may policies engines monitor config base
    may daemon engines policies monitor runtime config base client/c
    may client/c
)
[ -z "$hits" ] || say "$hits"

# folder: which libraries' headers
lib() {
    hits=$(grep -nE "^#include <($1)" -r base config runtime monitor engines policies daemon --include='*.[ch]' |
        grep -vE "^($2)")
    [ -z "$hits" ] || say "$hits: only in $2"
}
lib 'zmq' 'client/c/' # the daemon speaks ZMTP itself
lib 'microhttpd' 'daemon/http\.c|daemon/version\.c'
lib 'sqlite3' 'monitor/'
lib 'yaml\.' 'config/'
lib 'cblas|onnx\.pb-c|protobuf-c' 'runtime/'
lib 'sodium' 'base/hash.c'
lib 'jansson' 'daemon/|runtime/'

hits=$(grep -nE '^#include <(sqlite3|yaml|cblas|sodium|onnx|protobuf|openblas|omp|microhttpd|systemd)' -r client/c --include='*.[ch]')
[ -z "$hits" ] || say "$hits: client/c needs libzmq and jansson only"

MALLOC='base/arena.c|runtime/program.c|runtime/model.c|runtime/proto.c|engines/plan.c|monitor/[a-z]*.c|daemon/[a-z_]*.c'
hits=$(grep -nE '\b(malloc|calloc|realloc|strdup|aligned_alloc) *\(' -r base config runtime monitor engines policies daemon --include='*.c' |
    grep -vE "^($MALLOC):")
[ -z "$hits" ] || say "$hits: memory comes from arenas"

hits=$(grep -nE 'assert_(float|double)_equal *\(' -r tests --include='*.c')
[ -z "$hits" ] || say "$hits: passes on NaN; use assert_close"

hits=$(grep -nE '\b(TODO|FIXME|XXX)\b' -r base config runtime monitor engines policies daemon client tests bench models scripts \
    --include='*.[ch]' --include='*.py')
[ -z "$hits" ] || say "$hits: finish it, or make it an error"

hits=$(find base config runtime monitor engines policies daemon client bench -name '*.[ch]' -exec wc -l {} + |
    awk '$2 != "total" && $2 != "client/c/ttad.h" && $1 > ($2 ~ /h$/ ? 130 : 550) {print $2 ": " $1 " lines"}')
[ -z "$hits" ] || say "$hits: too long; split by subject"

hits=$(grep -LE '^(//|#|/\*) SPDX-License-Identifier: Apache-2.0|SPDX-License-Identifier: Apache-2.0' \
    $(find base config runtime monitor engines policies daemon client tests bench scripts models -name '*.[ch]' -o -name '*.py' -o -name '*.sh'))
[ -z "$hits" ] || say "$hits: no SPDX line"
exit $bad
