"""The error of everything that reads or writes OME-Zarr."""

from __future__ import annotations

from pathlib import Path

from linumpy.printable import printable

__all__ = ["OmeZarrError"]

LONGEST = 2000


class OmeZarrError(ValueError):
    """An OME-Zarr store that cannot be used, with the path, what is wrong and the way out: one printable line.

    Parameters
    ----------
    path : path-like
        The store or the file in it that is at fault.
    fault : str
        What is wrong, with the value found, and the way out.
    """

    def __init__(self, path: str | Path, fault: str) -> None:
        self.path = Path(path)
        self.fault = fault
        if len(fault) > LONGEST:  # a name of a million letters; the way out stands at the end
            fault = f"{fault[: LONGEST // 2]} ... {fault[-LONGEST // 2 :]}"
        super().__init__(printable(f"{path}: {fault}"))

    def __reduce__(self) -> tuple[type[OmeZarrError], tuple[Path, str]]:
        return type(self), (self.path, self.fault)
