"""Where compiled Numba kernels are looked for inside a read-only image.

An image holds its kernels compiled, in ``__pycache__`` beside their sources. Numba asks for a folder that it
can also write to, and where there is none it compiles everything again, in every task and without a word.
`ScratchCacheLocator` gives it one: a private copy of the image's kernels in the temporary folder, made at the
first use and removed at exit.

Numba is told of it by ``NUMBA_CACHE_LOCATOR_CLASSES=linumpy.kernel_cache.ScratchCacheLocator``, as the images
do, or by `linumpy.n4.target.pin`, where the folder of the sources cannot be written.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from numba.core.caching import InTreeCacheLocator


@functools.cache
def _scratch() -> Path:
    """Private folder of this process (and of those it forks) for the copies."""
    folder = tempfile.mkdtemp(prefix="linumpy-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class ScratchCacheLocator(InTreeCacheLocator):  # type: ignore[misc]
    """Finds the kernels of a source file in a writable copy of its ``__pycache__``."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        shipped = Path(self.get_cache_path())
        copy = _scratch() / self.get_suitable_cache_subpath(py_file)
        if not copy.exists():
            copy.mkdir()
            for kernel in sorted([*shipped.glob("*.nbi"), *shipped.glob("*.nbc")]):
                shutil.copy(kernel, copy)
        self._cache_path = str(copy)
