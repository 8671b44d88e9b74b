#!/bin/sh
# Install linumpy from /source into /opt/venv, with the locked requirements of the variant (runtime or gpu).
# Both kinds of image call this while they are built; pip and what it builds with stay outside of /opt/venv.
set -eu
requirements=$1
pip() { /opt/pip/bin/pip --disable-pip-version-check --no-cache-dir "$@"; }
into_venv() { pip --python /opt/venv/bin/python install --no-compile "$@"; }

python3 -m venv /opt/pip
python3 -m venv --without-pip /opt/venv
pip install --require-hashes -r /source/requirements/build.txt
into_venv --require-hashes -r "/source/requirements/$requirements.txt"
pip wheel --no-deps --no-build-isolation --wheel-dir /source/wheels /source
into_venv --no-deps /source/wheels/*.whl
cp /source/containers/environment.sh /opt/venv/environment.sh

# An image is read-only: what Python and Numba would compile at every start is compiled here.
. /opt/venv/environment.sh
NUMBA_CACHE_LOCATOR_CLASSES=InTreeCacheLocator python3 -m linumpy.n4.warm
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib
