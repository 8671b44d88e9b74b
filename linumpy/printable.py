"""Text from outside, as it may be shown: names and labels of images reach terminals, logs and pages.

A newline starts a line that looks like another message, an escape sequence tells a terminal what to do, a right-to-left
mark turns what follows around. Such characters are shown as Python writes them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["listed", "printable", "printable_lines"]

# Control, format (marks of direction too), surrogate, private use; separators of lines and paragraphs.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # they are part of words in Persian and of many scripts of India, and turn nothing around


def printable(text: str) -> str:
    r"""Return a text with every character that is not shown, or that changes how others are, written as an escape.

    Examples
    --------
    >>> print(printable("dapi\n\x1b[2Jerror: \u202egpj"))
    dapi\n\x1b[2Jerror: \u202egpj
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN and c not in _JOINERS else c for c in text)


def printable_lines(text: str) -> str:
    """Return a text with the lines it has, each :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


def listed(values: Sequence[object], most: int) -> str:
    """Return values as a sentence names them: all, or the first `most` and how many more there are.

    Examples
    --------
    >>> listed([10, 20, 30, 40], 2)
    '10, 20 and 2 more'
    """
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
