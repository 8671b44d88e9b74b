#!/usr/bin/env bash
# Make or refresh .venv: the locked Python packages, linumpy itself (editable), Nextflow and a Java for it, and the
# compiled kernels of the solver. Needs Python 3.11 or newer, nothing else; does nothing where nothing has changed.
#
# PYTHON=/path/to/python3 chooses the interpreter. The settings of pip (PIP_*) and M2_REPO are passed through.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "make setup: no Python 3.11 or newer with its venv module; name one with PYTHON=/path/to/python3" >&2
    return 1
}

digest() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

install_python_packages() {
    [ -x $venv/bin/python ] || "$(find_python)" -m venv $venv
    local pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-compile)
    "${pip[@]}" --require-hashes -r requirements/dev.txt
    "${pip[@]}" --no-deps --no-build-isolation --editable .
    # On all cores, unlike pip. Where Python may not write bytecode, every task would compile its imports: a second each.
    # Some packages hold files for other Pythons, which do not compile here.
    "$venv/bin/python" -m compileall -q -j 0 $venv/lib >/dev/null || true
}

jars_are_whole() { (cd $venv/share/nextflow && sha256sum --quiet --strict --check -) <tools/nextflow/jars.sha256; }

install_nextflow() {
    local here=$PWD share=$venv/share/nextflow
    if ! jars_are_whole >/dev/null 2>&1; then
        rm -rf $share
        # called beside its jgo.toml, jgo spreads the jars over two folders of its cache, differently where a JDK is
        (cd tools/nextflow && "$here/$venv/bin/jgo" --ignore-config --quiet --resolver python --timeout 120 \
            --cache-dir "$here/$share/jgo" --update sync)
        find $share/jgo -name '*.jar' -exec mv -t $share {} +
        rm -rf $share/jgo
        jars_are_whole
    fi
    install -m 755 tools/nextflow/nextflow $venv/bin/nextflow
}

warm_numba_cache() {
    if [ -e linumpy/n4/warm.py ]; then $venv/bin/python -m linumpy.n4.warm; fi
}

# Two stamps, since the kernels change far more often than the requirements.
refresh() { # stamp, digest of what it depends on, then the functions to call where that has changed
    local stamp=$venv/$1 now=$2 step
    shift 2
    [ "$(cat "$stamp" 2>/dev/null)" != "$now" ] || return 0
    for step in "$@"; do
        printf 'make setup: %s\n' "${step//_/ }"
        "$step"
    done
    printf '%s\n' "$now" >"$stamp"
}

refresh .packages "$(digest requirements/dev.txt pyproject.toml linumpy/__init__.py tools/setup.sh tools/nextflow/*)" \
    install_python_packages install_nextflow
refresh .kernels "$(digest /dev/null $(find linumpy/n4 linumpy/intensity -name "*.py" 2>/dev/null | LC_ALL=C sort))" warm_numba_cache
