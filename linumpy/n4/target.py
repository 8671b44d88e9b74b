"""One CPU target for compiled kernels, so that all nodes share their cache and their bits.

Numba compiles for the machine it runs on. A cluster has many kinds: a cache made on one is useless on the
next, which compiles everything again, and its results differ in the last bit. `pin` names a target that every
x86-64 machine since 2013 can run instead. It must be called before the first kernel is made; modules with
kernels do so at their top.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

CPU_NAME = "x86-64-v3"
# Both are needed: with the name alone Numba adds the features of the machine that it runs on.
CPU_FEATURES = (
    "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+crc32,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,+sse,"
    "+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave"
)

alone = False
"""Whether this process compiles nothing but this package's kernels: scripts say so, a library cannot know."""

log = logging.getLogger(__name__)


@cache
def pin() -> bool:
    """Let Numba compile for `CPU_NAME`; return whether it does.

    Where the machine cannot run that target, or another was set with ``NUMBA_CPU_NAME``, kernels are compiled
    for the machine itself or for what was set, once, at their first use; results may then differ in the last
    bits. The log says so.
    """
    if alone:
        _load_without_blas()
    config: Any = import_module("numba.core.config")
    _find_a_writable_cache(config)
    if config.CPU_NAME not in (None, CPU_NAME):
        log.info("kernels are compiled for %s, as NUMBA_CPU_NAME says, not for %s", config.CPU_NAME, CPU_NAME)
        return False
    missing = missing_features()
    if missing:
        log.warning(
            "this CPU lacks %s, which the prepared kernels need: they are compiled anew for it, which takes half a "
            "minute, and results may differ in the last bits from those of other machines",
            ", ".join(missing),
        )
        config.CPU_NAME = config.CPU_FEATURES = None
        return False
    config.CPU_NAME, config.CPU_FEATURES = CPU_NAME, CPU_FEATURES
    return True


def missing_features() -> list[str]:
    """Return the features of the target that this machine lacks; its architecture, where that is another."""
    machine = platform.machine().lower()
    if machine not in ("x86_64", "amd64"):
        return [f"x86-64 instructions (it is {machine})"]
    present = import_module("llvmlite.binding").get_host_cpu_features()
    wanted = [feature.removeprefix("+") for feature in CPU_FEATURES.split(",")]
    return [feature for feature in wanted if not present.get(feature, False)]


def _load_without_blas() -> None:
    """Load Numba as where SciPy has no BLAS.

    Numba looks for one when it is loaded, for `np.dot` in compiled code, and SciPy's linear algebra comes with it:
    0.2 s of CPU, a third of the start of a task with kernels. No kernel here uses it.
    """
    blas = "scipy.linalg.cython_blas"
    if blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # Python's way to say that a module is not to be had
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[blas]


def _find_a_writable_cache(config: Any) -> None:
    """Keep prepared kernels usable where their folder is read-only: Numba would pass over it without a word."""
    package = Path(__file__).parent
    folder = package / "__pycache__"
    chosen = config.CACHE_DIR or config.CACHE_LOCATOR_CLASSES
    if not chosen and not os.access(folder if folder.exists() else package, os.W_OK):
        config.CACHE_LOCATOR_CLASSES = "linumpy.kernel_cache.ScratchCacheLocator"
