"""GPU support: whether there is a CUDA device that CuPy can use.

`GPU_AVAILABLE` is found out when it is first read, not at import: importing the package loads no CuPy and
touches no device.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

__all__ = ["GPU_AVAILABLE", "require_gpu"]

GPU_AVAILABLE: bool
"""True where CuPy imports and finds a CUDA device."""

log = logging.getLogger(__name__)


@cache
def _gpu_available() -> bool:
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception as error:  # a broken driver raises errors of CuPy's own; each of them means: no GPU here
        log.debug("CuPy cannot be used: %s", error)
        return False


def __getattr__(name: str) -> Any:
    if name == "GPU_AVAILABLE":
        return _gpu_available()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def require_gpu(backend: str) -> None:
    """Refuse the backend ``gpu`` where there is none: in the pipeline nothing falls back to another.

    Raises
    ------
    ValueError
        If `backend` is ``"gpu"`` and CuPy finds no CUDA device.
    """
    if backend == "gpu" and not _gpu_available():
        raise ValueError(
            "backend gpu was asked for, and CuPy finds no CUDA device here; run with -profile gpu on nodes that "
            "have one, or with --backend native"
        )
