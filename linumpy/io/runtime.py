"""How a task decodes and encodes chunks: which code, on how many threads.

Called once at the start of a task, before any array is opened: the threads of zarr-python start with its
first array.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import zarr

__all__ = ["PIPELINES", "CodecSettings", "configure_codecs"]

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
