"""What the scripts in bin/ share: arguments that read the same everywhere, logging, and how a task ends."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import linumpy
from linumpy.intensity.sections import Sections
from linumpy.n4 import target
from linumpy.printable import printable, printable_lines

# Imports and compiled kernels are objects by the hundred thousand that all stay: looking through them for garbage takes
# a fifth of a script's start, and another at its end. So scripts import this module first, and garbage is looked for
# seldom, and not at all where the process ends.
gc.set_threshold(200_000, 10, 10)
atexit.register(gc.freeze)
target.alone = True

if TYPE_CHECKING:
    from linumpy.io.ome_zarr import Image
    from linumpy.stage.fit import FitSettings

__all__ = [
    "add_fit_arguments",
    "add_given_mask_argument",
    "add_image_arguments",
    "boolean",
    "fit_settings",
    "floats",
    "open_given_mask",
    "open_selected",
    "parser",
    "run",
    "sections",
    "triple",
]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that refuses misspelt and shortened flags."""
    made = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--version", action="version", version=linumpy.__version__)
    return made


def run(step: Callable[[], None]) -> int:
    """Run a step with logging to stderr; a user's mistake ends as its message and exit status 1.

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


def add_image_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add what names the volume to work on, see :func:`open_selected`."""
    arguments.add_argument("--image", type=Path, required=True, help="OME-Zarr")
    arguments.add_argument("--channel", type=_optional_integer, default=None, help="index; empty: none")
    arguments.add_argument("--timepoint", type=_optional_integer, default=None, help="index; empty: none")
    arguments.add_argument("--voxel_size_um", type=floats, default=None, help="z,y,x; empty: the metadata's")
    arguments.add_argument("--level", type=int, default=0, help="of the image; 0: full resolution")
    arguments.add_argument("--stride", type=triple, default=(1, 1, 1), help="voxels of the level per voxel, z,y,x")


def open_selected(args: argparse.Namespace) -> Image:
    """Open the volume that the arguments name; CHECK_INPUT has validated its metadata."""
    from linumpy.io.ome_zarr import open_image  # only scripts that see voxels pay for Zarr
    from linumpy.io.sampled import sampled

    image = open_image(
        args.image,
        channel=args.channel,
        timepoint=args.timepoint,
        voxel_size_um=args.voxel_size_um,
        validate=False,
    )
    return sampled(image, args.level, args.stride)


def add_given_mask_argument(arguments: argparse.ArgumentParser) -> None:
    """Add the mask to use instead of finding one, see :func:`open_given_mask`."""
    arguments.add_argument("--given_mask", type=Path, nargs="*", default=[], help="OME-Zarr to use as the mask")


def open_given_mask(args: argparse.Namespace, image: Image) -> Image | None:
    """Open the given mask on the grid of an image that :func:`open_selected` gave, None where there is none.

    The mask has the voxels of the full image, and need not have its levels.
    """
    from linumpy.io.ome_zarr import open_mask
    from linumpy.io.sampled import sampled

    if not args.given_mask:
        return None
    mask = open_mask(args.given_mask[0], validate=False)
    apart = [round(n / m) for n, m in zip(mask.shape, image.shape, strict=True)]
    return sampled(mask, 0, apart, image.shape)


def add_fit_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add how N4 fits, see :func:`fit_settings`."""
    arguments.add_argument("--samples", type=Path, required=True, help="folder of samples")
    arguments.add_argument("--spline_distance_mm", type=float, required=True, help="knot distance of the first level")
    arguments.add_argument("--n_iterations", type=_integers, required=True, help="most of each level; empty: chosen")
    arguments.add_argument("--shading_mm", type=float, required=True, help="smallest span across XY; 0: no limit")
    arguments.add_argument("--depth_profile", type=boolean, required=True, help="true or false")
    arguments.add_argument("--backend", choices=["native", "cpu", "gpu"], required=True)
    arguments.add_argument("--threads", type=int, required=True)


def fit_settings(args: argparse.Namespace) -> FitSettings:
    """Return how N4 fits."""
    from linumpy.stage.fit import FitSettings

    return FitSettings(
        spline_distance_mm=args.spline_distance_mm,
        n_iterations=args.n_iterations,
        shading_mm=args.shading_mm,
        depth_profile=args.depth_profile,
        backend=args.backend,
        workers=args.threads,
    )


def _integers(text: str) -> tuple[int, ...] | None:
    return tuple(int(item) for item in text.split(",")) if text else None


def _optional_integer(text: str) -> int | None:
    return int(text) if text else None


def triple(text: str) -> tuple[int, int, int]:
    """Read ``4,4,4`` (z,y,x)."""
    z, y, x = (int(item) for item in text.split(","))
    return z, y, x


def floats(text: str) -> tuple[float, ...] | None:
    """Read ``10,2.5,2.5`` (z,y,x); None of nothing."""
    return tuple(float(item) for item in text.split(",")) if text else None


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``."""
    return {"true": True, "false": False}[text]


def sections(text: str) -> Sections:
    """Read ``0:10,10:20`` (z_start:z_stop)."""
    pairs: list[Sequence[str]] = [item.split(":") for item in text.split(",")]
    return tuple((int(z_start), int(z_stop)) for z_start, z_stop in pairs)
