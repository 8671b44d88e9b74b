"""How a task decodes and encodes chunks: which code, on how many threads, in which memory.

Called once at the start of a task, before any array is opened: the threads of zarr-python start with its
first array.

A task goes through the same few sizes of blocks again and again. The C library gives each of them back to the system
when it is freed and asks for fresh pages for the next; clearing those costs as much as decoding into them (and far more
in a virtual machine). `keep_freed_memory` makes it reuse what it has.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from typing import Literal

import zarr

__all__ = ["PIPELINES", "CodecSettings", "configure_codecs", "keep_freed_memory"]

# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 16 << 20

PIPELINES = {
    "zarr": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


@dataclass(frozen=True)
class CodecSettings:
    """What was set: the `pipeline` ("zarrs" or "zarr") that reads and the threads (`workers`)."""

    pipeline: str
    workers: int


def configure_codecs(workers: int, pipeline: Literal["zarrs", "zarr"] = "zarrs") -> CodecSettings:
    """Set the codec pipeline and its threads for this process.

    Parameters
    ----------
    workers : int
        Threads that decode or encode, at least 1. Results do not depend on it.
    pipeline : {"zarrs", "zarr"}
        "zarrs", in Rust, is the faster to read; "zarr" is zarr-python's own. Both give the same voxels.

    Returns
    -------
    CodecSettings
        For the provenance of the results.

    Raises
    ------
    ValueError
        If `workers` is below 1 or the pipeline is unknown.
    ImportError
        If zarrs is asked for and not installed: there is no silent fallback.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 thread is needed")
    if pipeline not in PIPELINES:
        raise ValueError(f"codec pipeline {pipeline!r} is unknown; choose one of {', '.join(PIPELINES)}")
    if pipeline == "zarrs" and importlib.util.find_spec("zarrs") is None:
        raise ImportError("the codec pipeline zarrs is not installed; install zarrs or ask for 'zarr'")
    keep_freed_memory()
    from numcodecs import blosc  # type: ignore[import-untyped]

    blosc.set_nthreads(1)  # the threads are those of the chunks: Blosc's own would multiply them
    zarr.config.set(
        {
            "codec_pipeline.path": PIPELINES[pipeline],
            "threading.max_workers": workers,
            "async.concurrency": workers,
        }
    )
    return CodecSettings(pipeline, workers)


def keep_freed_memory() -> bool:
    """Let this process reuse freed blocks, large ones too, instead of returning them; tell whether it does (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena: a block freed by one thread is there for the next one's.
    options = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES), (_M_ARENA_MAX, 1))
    taken = [mallopt(option, value) for option, value in options]
    return all(taken)
