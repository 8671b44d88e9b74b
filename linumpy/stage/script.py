"""What the scripts in bin/ share: arguments that read the same everywhere, logging, and how a task ends."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import linumpy
from linumpy.intensity.sections import Sections

__all__ = ["boolean", "floats", "integers", "optional_integer", "parser", "run", "sections", "triple"]


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
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    start_cpu, begun = _cpu_seconds(), time.monotonic()
    try:
        step()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _log_spent(start_cpu, time.monotonic() - begun)
    return 0


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


def integers(text: str) -> tuple[int, ...] | None:
    """Read ``50,50,50``; empty is not given."""
    return tuple(int(item) for item in text.split(",")) if text else None


def floats(text: str) -> tuple[float, ...] | None:
    """Read ``10,2.5,2.5`` or ``10``; empty is not given."""
    return tuple(float(item) for item in text.split(",")) if text else None


def triple(text: str) -> tuple[int, int, int]:
    """Read ``4,4,4`` (z,y,x)."""
    z, y, x = (int(item) for item in text.split(","))
    return z, y, x


def optional_integer(text: str) -> int | None:
    """Read a whole number; empty is not given."""
    return int(text) if text else None


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``."""
    return {"true": True, "false": False}[text]


def sections(text: str) -> Sections:
    """Read ``0:10,10:20`` (z_start:z_stop)."""
    pairs: list[Sequence[str]] = [item.split(":") for item in text.split(",")]
    return tuple((int(z_start), int(z_stop)) for z_start, z_stop in pairs)
