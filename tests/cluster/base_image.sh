#!/usr/bin/env bash
# A stand-in for python:3.11-slim-bookworm, made from Debian's packages: no image registry is needed. Prints its name.
set -euo pipefail
. "$(dirname "$0")/packages.sh"
need_packages podman buildah runc debootstrap
tag=localhost/python:3.11-slim-bookworm
if ! podman image exists $tag; then
    root=$(mktemp -d /var/tmp/base-image.XXXX)
    trap 'rm -rf "$root" "$root.tar"' EXIT
    chmod 755 "$root"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >/tmp/debootstrap.log 2>&1 ||
        { tail -20 /tmp/debootstrap.log >&2; exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    : >"$root/etc/resolv.conf"
    tar -C "$root" --numeric-owner --one-file-system -cf "$root.tar" .
    podman import -q "$root.tar" $tag >/dev/null
fi
echo $tag
