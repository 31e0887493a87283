#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages named on the command line that are not there yet.  Removes none.
set -eu
missing=
for p in "$@"; do
    dpkg-query -W -f='${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' ||
        missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "deps: missing, and there is no apt-get to install them:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing, and neither root nor sudo to install them:$missing" >&2
        echo "deps: as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "deps: installing with apt-get, which takes a minute or two:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update -q &&
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-remove --no-install-recommends $missing; } \
    </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "deps: apt-get could not install:$missing" >&2
    exit 1
fi
echo "deps: done"
