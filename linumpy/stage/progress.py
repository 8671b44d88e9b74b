"""Progress of a long task, for people who look at its log."""

from __future__ import annotations

import logging
import time

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Logs percent, rate and time left, not more often than every ten seconds, and the total at the end.

    Parameters
    ----------
    logger : logging.Logger
        Where the lines go, at level INFO.
    what : str
        The work.
    total : int
        How much there is of it.
    unit : str
        In what it is counted.
    """

    def __init__(self, logger: logging.Logger, what: str, total: int, unit: str) -> None:
        self._logger, self._what, self._total, self._unit = logger, what, total, unit
        self._begun = self._last = time.monotonic()
        self._done = 0

    def advance(self, amount: int) -> None:
        """Say that so much more is done."""
        self._done += amount
        done = self._done
        now = time.monotonic()
        if done < self._total and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        rate = done / max(now - self._begun, 1e-9)
        self._logger.info(
            "%s: %.0f %% (%d of %d %s), %.3g %s/s, %.0f s left",
            self._what,
            100 * done / self._total,
            done,
            self._total,
            self._unit,
            rate,
            self._unit,
            (self._total - done) / max(rate, 1e-9),
        )
