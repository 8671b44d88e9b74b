"""The error that carries every fault of an input at once."""

from __future__ import annotations

from collections.abc import Sequence

from linumpy.printable import printable

__all__ = ["InputError"]


class InputError(ValueError):
    """Faults of parameters or samplesheet, all of them, one line each.

    Parameters
    ----------
    faults : sequence of str
        Each says what is wrong, where, and the way out.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(printable, faults))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{count} in the input:", *(f"  - {fault}" for fault in self.faults)]))
