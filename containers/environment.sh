# What a process of the stage finds in its environment, in both kinds of image (the Dockerfile repeats it as ENV).
export PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1
export PYTHONNOUSERSITE=1
export PYTHONUNBUFFERED=1
# CuPy keeps its kernels in memory and writes nothing, yet its import fails without a folder that it could write to.
export CUPY_CACHE_IN_MEMORY=1
export CUPY_CACHE_DIR=/tmp
# The kernels are compiled with the image, which cannot be written.
export NUMBA_CACHE_LOCATOR_CLASSES=linumpy.kernel_cache.ScratchCacheLocator
