#!/bin/sh
# Install into /opt/venv from /source, in two steps so that a change of linumpy alone costs little:
#   install.sh requirements VARIANT   the locked requirements of runtime or gpu
#   install.sh linumpy                the package, and all that would be compiled at every start of a read-only image
# Both kinds of image call this while they are built; pip and what it builds with stay outside of /opt/venv.
set -eu
pip() { /opt/pip/bin/pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }
into_venv() { pip --python /opt/venv/bin/python install --no-compile "$@"; }

case $1 in
requirements)
    python3 -m venv /opt/pip
    python3 -m venv --without-pip /opt/venv
    pip install --require-hashes -r /source/requirements/build.txt
    into_venv --require-hashes -r "/source/requirements/$2.txt"
    /opt/venv/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib
    ;;
linumpy)
    pip wheel --no-deps --no-build-isolation --wheel-dir /source/wheels /source
    into_venv --no-deps /source/wheels/*.whl
    cp /source/containers/environment.sh /opt/venv/environment.sh
    . /opt/venv/environment.sh
    NUMBA_CACHE_LOCATOR_CLASSES=InTreeCacheLocator python3 -m linumpy.n4.warm
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib/python3*/site-packages/linumpy
    ;;
esac
