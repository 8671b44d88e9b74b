#!/usr/bin/env bash
# Install Apptainer on Debian bookworm, which has no package of it, from Debian sid's. Does nothing where it is there.
#
# The package wants a newer C library than bookworm's: sid's goes into a folder of its own, and only Apptainer's two
# C programs are pointed at it. The system's own library and its list of package sources stay as they are.
set -euo pipefail
. "$(dirname "$0")/packages.sh"
[ ! -c /dev/fuse ] || chmod 666 /dev/fuse # as udev does: an ordinary user's Apptainer mounts images with FUSE
if apptainer --version 2>/dev/null; then exit; fi
need_packages patchelf squashfs-tools squashfuse fuse2fs fuse-overlayfs uidmap libseccomp2 e2fsprogs

library=/opt/apptainer-libc
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

sid() { # apt with a state of its own, against the sid of the mirror that this machine already uses
    "$@" -qq -o Dir::Etc::sourcelist="$scratch/sid.list" -o Dir::Etc::sourceparts="$scratch/none" \
        -o Dir::State::lists="$scratch/lists" -o Dir::State::status="$scratch/status" -o Dir::Cache="$scratch/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none
}
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
    sed -nE 's/^URIs: *//p; s/^deb +(\[[^]]*\] *)?//p' | grep -oE '^[^ ]+/debian/?( |$)' | head -1) || true
[ -n "$mirror" ] || { echo "no Debian mirror among this machine's package sources" >&2; exit 1; }
mkdir -p "$scratch"/{lists,cache/archives}/partial "$scratch/none"
: >"$scratch/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$scratch/sid.list"
cd "$scratch"
sid apt-get update
sid apt-get download apptainer libc6
dpkg-deb -x libc6_*.deb libc
dpkg-deb -x apptainer_*.deb apptainer

rm -rf $library
mkdir -p $library
cp -a "$(dirname "$(find libc -name libc.so.6 | head -1)")"/. $library/
for program in usr/bin/apptainer usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --set-interpreter $library/ld-linux-x86-64.so.2 --force-rpath \
        --set-rpath "$library:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu" "apptainer/$program"
done
tar -C apptainer -cf - . | tar -C / --keep-directory-symlink -xf -
mkdir -p /var/lib/apptainer/mnt/session
# a task run by root must not hold more rights inside than an ordinary user's
sed -i -E 's/^#* *root default capabilities *=.*/root default capabilities = no/' /etc/apptainer/apptainer.conf
apptainer --version
