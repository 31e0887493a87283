#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Turn text files into one C table: sh texts.sh OUT.h OUT.c FILE...
# A file is found by its path from the root, as written on the command line.
set -eu
h=$1
c=$2
shift 2
cat > "$h" <<'EOF'
#ifndef TT_GEN_TEXTS_H
#define TT_GEN_TEXTS_H
#include <stddef.h>
/* The text files compiled into the program; ends with a NULL path. */
struct tt_text {
    const char *path, *text;
    size_t len;
};
extern const struct tt_text tt_texts[];
#endif
EOF
{
    echo '#include "texts.h"'
    n=0
    for f in "$@"; do
        printf 'static const unsigned char t%d[] = {' "$n"
        od -An -v -tu1 "$f" | sed 's/[0-9][0-9]*/&,/g'
        echo '0};'
        n=$((n + 1))
    done
    echo 'const struct tt_text tt_texts[] = {'
    n=0
    for f in "$@"; do
        printf '{"%s", (const char *)t%d, sizeof t%d - 1},\n' "$f" "$n" "$n"
        n=$((n + 1))
    done
    echo '{0, 0, 0}};'
} > "$c"
