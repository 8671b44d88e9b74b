#!/usr/bin/env bash
# Resolve every requirement of pyproject.toml once, then write one hashed file per use, all with the same versions:
#   requirements/runtime.txt  what the CPU image holds
#   requirements/gpu.txt      the same plus CuPy and its CUDA libraries: the CUDA image
#   requirements/build.txt    what installs linumpy itself into an image
#   requirements/dev.txt      the same plus tests, lint, and the way to Java and Nextflow: `make setup`
# The files name no index, so pip and uv take whichever the machine is set up for.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # output, then arguments of uv
    local output=$1
    shift
    .venv/bin/uv pip compile "$@" --output-file "$output" --quiet \
        --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" ${UPGRADE:+--upgrade}
}

mkdir -p build
every=build/every-requirement.txt
cat requirements/*.txt >"$every" 2>/dev/null || true # prefer the versions of the last lock
compile "$every" pyproject.toml --extra gpu --group dev
compile requirements/build.txt --constraint "$every" --no-annotate --group build
compile requirements/runtime.txt pyproject.toml --constraint "$every" --no-annotate
compile requirements/gpu.txt pyproject.toml --constraint "$every" --no-annotate --extra gpu
compile requirements/dev.txt pyproject.toml --constraint "$every" --no-annotate --group dev
wc -l requirements/*.txt
