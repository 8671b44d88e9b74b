"""What the scripts in bin/ share: arguments that read the same everywhere, logging, and how a task ends."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import linumpy
from linumpy.n4 import target
from linumpy.printable import printable, printable_lines

# Imports and compiled kernels are objects by the hundred thousand that all stay: looking through them for garbage takes
# a fifth of a script's start, and another at its end. So scripts import this module first, and garbage is looked for
# seldom, and not at all where the process ends.
gc.set_threshold(200_000, 10, 10)
atexit.register(gc.freeze)
target.alone = True

if TYPE_CHECKING:
    from linumpy.intensity.bias_model import BiasModel
    from linumpy.io.ome_zarr import Image

__all__ = [
    "add_bias_arguments",
    "add_given_mask_argument",
    "open_bias",
    "open_given_mask",
    "open_selected",
    "parser",
    "run",
]


KILLED = 137
"""Exit status of what was killed for its memory."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that refuses misspelt and shortened flags."""
    made = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--version", action="version", version=linumpy.__version__)
    return made


def run(step: Callable[[], None]) -> int:
    """Run a step with logging to stderr; a user's mistake ends as its message and exit status 1.

    Where memory is limited by what a process may map (Grid Engine's h_vmem), nobody kills a task that is short of it.
    It ends as if it had been killed, so that it is tried again with more.

    The last line of the log says what was spent: CPU time (and that of starting Python), memory, bytes.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    start_cpu, begun = _cpu_seconds(), time.monotonic()
    try:
        step()
    except ValueError as error:
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"error: out of memory: {error}".rstrip(": "), file=sys.stderr)
        return KILLED
    finally:
        _log_spent(start_cpu, time.monotonic() - begun)
    return 0


class _Printable(logging.Formatter):
    """One line a message, whatever an image is named."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def _cpu_seconds() -> float:
    """CPU time of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _log_spent(start_cpu: float, seconds: float) -> None:
    try:
        counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except OSError:  # not Linux, or hidden
        counters = {}
    logging.getLogger(__name__).info(
        "spent %.2f s of CPU in %.2f s, after %.2f s of CPU to start; memory at most %.0f MiB; "
        "read %.1f MB, wrote %.1f MB",
        _cpu_seconds() - start_cpu,
        seconds,
        start_cpu,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        int(counters.get("rchar", 0)) / 1e6,
        int(counters.get("wchar", 0)) / 1e6,
    )


def open_selected(path: Path, selection: Mapping[str, Any]) -> Image:
    """Open the volume to work on, as the plan's group ``image`` names it; CHECK_INPUT has validated its metadata."""
    from linumpy.io.ome_zarr import open_image  # only scripts that see voxels pay for Zarr
    from linumpy.io.sampled import sampled

    of_level = {name: selection[name] for name in ("level", "stride")}
    of_store = {name: value for name, value in selection.items() if name not in of_level}
    return sampled(open_image(path, **of_store, validate=False), **of_level)


def add_bias_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add the bias field and how its acquisition was matched, see :func:`open_bias`."""
    arguments.add_argument("--bias", type=Path, required=True, help="folder of the bias field")
    arguments.add_argument("--match", type=Path, nargs="*", default=[], help="JSON, where acquisitions are matched")


def open_bias(args: argparse.Namespace) -> BiasModel:
    """Read the bias field that :func:`add_bias_arguments` names."""
    from linumpy.intensity.bias_model import BiasModel

    return BiasModel.load(args.bias, *args.match)


def add_given_mask_argument(arguments: argparse.ArgumentParser) -> None:
    """Add the mask to use instead of finding one, see :func:`open_given_mask`."""
    arguments.add_argument("--given_mask", type=Path, nargs="*", default=[], help="OME-Zarr to use as the mask")


def open_given_mask(paths: Sequence[Path], image: Image) -> Image | None:
    """Open the given mask on the grid of an image that :func:`open_selected` gave, None where there is none.

    The mask has the voxels of the full image, and need not have its levels.
    """
    from linumpy.io.ome_zarr import open_mask
    from linumpy.io.sampled import on_grid_of

    return on_grid_of(open_mask(paths[0], validate=False), image) if paths else None
