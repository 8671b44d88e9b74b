#!/usr/bin/env bash
# A Debian trixie with its Python 3.13 in a folder, with the locked packages in /site: made once, by debootstrap. Prints the folder.
set -euo pipefail
. "$(dirname "$0")/packages.sh"
repository=$(cd "$(dirname "$0")/../.." && pwd)
lock=$repository/requirements/runtime.txt
root=/var/tmp/linumpy-n4-trixie
if [ ! -e $root/made ]; then
    need_packages debootstrap
    rm -rf $root
    debootstrap --variant=minbase --include=python3 trixie $root >/tmp/debootstrap-trixie.log 2>&1 ||
        { tail -20 /tmp/debootstrap-trixie.log >&2; exit 1; }
    rm -rf $root/var/cache/apt/archives/*.deb $root/var/lib/apt/lists/*
    touch $root/made
fi
if ! cmp -s "$lock" $root/lock; then
    rm -rf $root/site
    "$repository/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --target $root/site \
        --python-version 3.13 --only-binary=:all: --no-deps --require-hashes -r "$lock"
    cp "$lock" $root/lock
fi
echo $root
