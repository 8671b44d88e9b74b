"""The error of everything that reads or writes OME-Zarr."""

from __future__ import annotations

from pathlib import Path

__all__ = ["OmeZarrError"]


class OmeZarrError(ValueError):
    """An OME-Zarr store that cannot be used, with the path, what is wrong and the way out.

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
        super().__init__(f"{path}: {fault}")

    def __reduce__(self) -> tuple[type[OmeZarrError], tuple[Path, str]]:
        return type(self), (self.path, self.fault)
