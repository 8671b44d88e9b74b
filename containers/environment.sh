# What a process of the stage finds in its environment, in both kinds of image (the Dockerfile repeats it as ENV).
export PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1
export PYTHONNOUSERSITE=1
export PYTHONUNBUFFERED=1
# No cache outlives a task, so no task meets another's.
export CUPY_CACHE_IN_MEMORY=1
export MPLCONFIGDIR=/tmp/matplotlib
# The kernels are compiled with the image, for every x86-64 processor since 2013 (AVX2, FMA): the same code, hence the
# same bits, on every node. Both are needed: with the name alone Numba adds the features of the machine it runs on.
export NUMBA_CPU_NAME=x86-64-v3
export NUMBA_CPU_FEATURES=+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+crc32,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave
export NUMBA_CACHE_LOCATOR_CLASSES=linumpy.kernel_cache.ScratchCacheLocator
