#!/usr/bin/env bash
# containers/build.sh inside a sandbox without image registry, with this machine's own certificate and pip settings.
# Arguments: variants (cpu, cuda). The images are linumpy-n4:VERSION-VARIANT in podman, the SIFs in build/images.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
base=$("$here/base_image.sh")
"$here/apptainer.sh" >/dev/null
options="--isolation chroot --network host --pull-never --layers --quiet"
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do # for the build only, nothing of them is kept
    [ ! -e $file ] || options+=" --volume $file:$file:ro"
done
BUILDAH_ISOLATION=chroot ENGINE=buildah BASE_IMAGE=$base BUILD_OPTIONS=$options "$here/../../containers/build.sh" "$@"
