#!/usr/bin/env bash
# Build the CPU and the CUDA image with whichever of docker, podman and buildah is here, and make SIFs of them where
# Apptainer or Singularity is. Beside them lies what each holds, as CycloneDX (.cdx.json). Prints the sizes.
#
#   containers/build.sh [cpu] [cuda]
#
# ENGINE         docker, podman or buildah                        (the first that is here)
# BASE_IMAGE     the base                                         (python:3.11-slim-bookworm)
# BUILD_OPTIONS  more options for the engine's build: a proxy, a certificate, ...
# REPOSITORY     name of the images                               (linumpy-n4)
# OUT            where the SIFs and the bills of materials go    (build/images)
# SIF            no: images only                                  (yes)
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' linumpy/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD -- linumpy requirements containers pyproject.toml 2>/dev/null || revision+="-modified"
repository=${REPOSITORY:-linumpy-n4} out=${OUT:-build/images}

first_of() { # the first of these commands that works here
    local name
    for name in "$@"; do
        if "$name" --version >/dev/null 2>&1 && { [ "$name" != docker ] || docker info >/dev/null 2>&1; }; then
            echo "$name"
            return
        fi
    done
}

build() { # variant, its requirements
    local image=$repository:$version-$1
    local arguments=(--build-arg "REQUIREMENTS=$2" --build-arg "VERSION=$version" --build-arg "REVISION=$revision")
    [ -z "${BASE_IMAGE:-}" ] || arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
    # shellcheck disable=SC2086 # several options
    "$engine" build "${arguments[@]}" ${BUILD_OPTIONS:-} -t "$image" -f containers/Dockerfile .
    list_materials "$image" "$out/linumpy-n4-$version-$1.cdx.json"
    if [ -n "$apptainer" ]; then make_sif "$image" "$out/linumpy-n4-$version-$1.sif"; fi
}

list_materials() { # image, file
    local command=(python3 - "$repository" "${1#"$repository":}") container
    case $engine in
    buildah)
        container=$(buildah from --pull-never "$1")
        buildah run "$container" -- "${command[@]}" <containers/sbom.py >"$2"
        buildah rm "$container" >/dev/null
        ;;
    *) "$engine" run --rm --interactive --network none "$1" "${command[@]}" <containers/sbom.py >"$2" ;;
    esac
}

make_sif() { # image, file; zstd at level 3 packs five times faster than gzip and reads faster
    local archive=$2.tar identity
    identity=$("$engine" inspect --type image --format "$id_format" "$1")
    [ ! -e "$2" ] || [ "$(cat "$2.id" 2>/dev/null)" != "$identity" ] || return 0
    rm -f "$archive"
    case $engine in
    docker) docker save -o "$archive" "$1" ;;
    *) "$engine" push -q "$1" "docker-archive:$archive:$1" ;;
    esac
    "$apptainer" -q build --force --mksquashfs-args "-comp zstd -Xcompression-level 3" "$2" "docker-archive:$archive"
    rm -f "$archive"
    echo "$identity" >"$2.id"
}

engine=${ENGINE:-$(first_of docker podman buildah)}
[ -n "$engine" ] || { echo "make images: none of docker, podman and buildah works here" >&2; exit 1; }
id_format='{{.Id}}'
[ "$engine" != buildah ] || id_format='{{.FromImageID}}'
apptainer=""
if [ "${SIF:-yes}" = yes ]; then
    apptainer=$(first_of apptainer singularity)
    [ -n "$apptainer" ] || echo "neither apptainer nor singularity is here: images only, no SIFs"
fi
mkdir -p "$out"

for variant in ${*:-cpu cuda}; do
    case $variant in
    cpu) build cpu runtime ;;
    cuda) build cuda gpu ;;
    *) echo "make images: unknown variant $variant; there are cpu and cuda" >&2; exit 1 ;;
    esac
done
"$engine" images | grep -F "$repository" || true
if [ -n "$apptainer" ]; then du -h "$out"/*.sif; fi
