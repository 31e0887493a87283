#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What docs/*.md and README.md say of the sources, against the sources.  Each miss is a line
# file:line: what is wrong, and the exit status is 1.
#
#   folder/file.c:function    the file is there and has that word before a '('
#   `folder/file`             the file or folder is there ('*' as a shell reads it)
#   [text](path#heading)      so is what a relative link leads to, and the heading
#   make TARGET               in code: the Makefile has that target
#   docs/policy.md            has a row for each key of a policy, with its default, and each signal
set -u
cd "$(dirname "$0")/.." || exit 2
misses=$(mktemp) || exit 2
trap 'rm -f "$misses"' EXIT
miss() {
    echo "$1: $2" >>"$misses"
}

# Lines "line<TAB>kind<TAB>text" of one document: fn, path, link, make.
pick() {
    awk '
BEGIN { name = "[A-Za-z0-9_.-]+" }
function each(s, re, kind, front, end,   t) { # front, end: bytes that are cut off
    while (match(s, re)) {
        t = substr(s, RSTART + front, RLENGTH - front - end)
        printf "%d\t%s\t%s\n", NR, kind, t
        s = substr(s, RSTART + RLENGTH)
    }
}
/^[ \t]*```/ { fence = !fence; next }
{
    each($0, name "(/" name ")+\\.(c|h|inc|py|sh):[A-Za-z_][A-Za-z0-9_]*", "fn", 0, 0)
    code = fence || /^(    |\t)/
    if (!code) {
        each($0, "`[A-Za-z0-9_.*-]+/[A-Za-z0-9_./*-]*`", "path", 1, 1)
        each($0, "\\]\\([^) ]+", "link", 2, 0)
        each($0, "(src|href)=\"[^\"]+\"", "html", 0, 1)
        each($0, "`make [^`]*`", "make", 6, 1)
    } else if (match($0, /^[ \t]*(\$ )?make( |$)/))
        printf "%d\tmake\t%s\n", NR, substr($0, RLENGTH + 1)
}' "$1"
}

check_function() { # place, file:function
    file=${2%:*} name=${2##*:}
    if [ ! -f "$file" ]; then
        miss "$1" "there is no file $file"
    elif ! grep -qE "(^|[^A-Za-z0-9_])$name *\(" "$file"; then
        miss "$1" "$file has no $name("
    fi
}

# Only what begins with a folder of the project: other things have slashes, too.  A placeholder in
# capitals stands for anything.
check_path() { # place, path
    case $2 in build/*) return ;; esac
    [ -d "${2%%/*}" ] || return
    any=$(echo "$2" | sed 's/[A-Z][A-Z]*/*/g')
    # shellcheck disable=SC2086
    ls -d $any >/dev/null 2>&1 || ls -d "$2" >/dev/null 2>&1 || miss "$1" "there is no $2"
}

headings() { # of a document, as the ends of links
    grep -E '^#+ ' "$1" | sed -E 's/^#+ //' | tr 'A-Z ' 'a-z-' | sed 's/[^a-z0-9_-]//g'
}

check_link() { # place, document, target
    target=${3#*=\"}
    case $target in *://* | mailto:*) return ;; esac
    path=${target%%#*} to=$2
    [ -z "$path" ] || to=$(dirname "$2")/$path
    if [ ! -e "$to" ]; then
        miss "$1" "the link to $target leads nowhere"
    elif [ "$path" != "$target" ] && [ -f "$to" ]; then
        headings "$to" | grep -qxF -- "${target#*#}" || miss "$1" "$to has no heading #${target#*#}"
    fi
}

check_make() { # place, what follows "make"
    set -f
    for word in $2; do
        case $word in
        *=* | -*) continue ;;                     # a variable, an option
        '#'* | '&&' | ';' | '|' | '>' | '<') break ;; # no more of make
        *[!a-z-]*) continue ;;                    # a file, a placeholder
        esac
        grep -qE "^$word( [a-z -]*)?:([^=]|\$)" Makefile ||
            miss "$1" "the Makefile has no target $word"
    done
    set +f
}

# Lines "key default" of the field tables; "-" where there is none to compare.
policy_keys() {
    cat policies/*.c monitor/rule.c engines/parts/*.c | tr '\n' ' ' | sed 's/  */ /g' | awk '
BEGIN {
    def = "(\"[^\"]*\"|NULL)"
    re = "TT_F\\(TT_F[A-Z]+, [A-Za-z_ ]+, [a-z0-9_]+, " def     # type, struct, key, default
    re = re "|TT_E\\([A-Za-z_ ]+, [a-z0-9_]+, " def             # struct, key, default
    re = re "|\\.key = \"[a-z_]+\"[^}]*\\.def = \"[^\"]*\""
}
{
    for (s = $0; match(s, re); s = substr(s, RSTART + RLENGTH)) {
        t = substr(s, RSTART, RLENGTH)
        if (t ~ /^\.key/) {
            n = split(t, a, "\"")
            key = a[2]
            d = a[n - 1]
        } else {
            n = split(t, a, ", ")
            key = a[n - 1]
            d = a[n] == "NULL" ? "required" : substr(a[n], 2, length(a[n]) - 2)
        }
        if (d == "-1e9" || d == "" || key == "alpha" || key == "half_life")
            d = "-" # not given, or wanted where its mode is
        print key, d
    }
}'
}

check_policy() {
    doc=docs/policy.md
    n=0
    keys=$(policy_keys)
    while read -r key def; do
        n=$((n + 1))
        row=$(grep -E "^\| \`([a-z_.]*\.)?$key\` \|" "$doc")
        if [ -z "$row" ]; then
            miss "$doc:1" "no row for the key '$key'"
        elif [ "$def" != - ] && ! echo "$row" | grep -qF -e "| $def |" -e "| \`$def\` |"; then
            miss "$doc:1" "no row for '$key' has its default, $def"
        fi
    done <<EOF
$keys
EOF
    for signal in $(sed -n 's/^TT_SIGNAL([A-Z_]*, "\([a-z_]*\)".*/\1/p' monitor/signals.def); do
        grep -qF "\`$signal\`" "$doc" || miss "$doc:1" "the signal '$signal' is missing"
    done
    [ "$n" -ge 40 ] || miss "$doc:1" "only $n keys were found in the field tables"
}

seen=0
for doc in README.md docs/*.md; do
    [ -f "$doc" ] || continue
    pick "$doc" >"$misses.picked"
    while IFS="$(printf '\t')" read -r line kind text; do
        seen=$((seen + 1))
        case $kind in
        fn) check_function "$doc:$line" "$text" ;;
        path) check_path "$doc:$line" "$text" ;;
        link | html) check_link "$doc:$line" "$doc" "$text" ;;
        make) check_make "$doc:$line" "$text" ;;
        esac
    done <"$misses.picked"
    rm -f "$misses.picked"
done
check_policy
[ "$seen" -gt 0 ] || miss docs/:0 "nothing was found to check"
if [ -s "$misses" ]; then
    sort -t: -k1,1 -k2,2n "$misses" >&2
    exit 1
fi
echo "checkdocs: $seen names, paths, links and targets are there"
