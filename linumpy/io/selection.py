"""Which channel and timepoint of an image is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from linumpy.io.errors import OmeZarrError
from linumpy.io.metadata import ImageMetadata

__all__ = ["selected_indices"]


def selected_indices(
    metadata: ImageMetadata,
    shape: Sequence[int],
    dimensions: tuple[int, int, int],
    channel: int | str | None,
    timepoint: int | str | None,
) -> tuple[int, ...]:
    """Find the index to take on every dimension.

    Parameters
    ----------
    metadata : ImageMetadata
        Axes and channel labels.
    shape : sequence of int
        Size of every dimension.
    dimensions : (int, int, int)
        Which of them are Z, Y and X; their index is 0 and means nothing.
    channel, timepoint : int or str, optional
        Index, in digits too, or the label of a channel.

    Returns
    -------
    tuple of int

    Raises
    ------
    OmeZarrError
        With every fault of the selection at once: an axis longer than 1 without selection, a selection
        without axis, one that is out of range or names more than one.
    """
    wanted = {"channel": channel, "timepoint": timepoint}
    selected = [0] * len(shape)
    faults = []
    for dimension, (axis, size) in enumerate(zip(metadata.axes, shape, strict=True)):
        if dimension in dimensions:
            continue
        column = {"channel": "channel", "time": "timepoint"}.get(axis.type or "")
        if column is None:
            if size > 1:
                faults.append(
                    f"axis {axis.name!r} (type {axis.type!r}) of size {size} cannot be selected; "
                    f"write one volume a store, with axes t, c, z, y, x only"
                )
            continue
        labels = [str(c.get("label", "")) for c in metadata.channels] if column == "channel" else []
        try:
            selected[dimension] = _selected_index(column, wanted.pop(column), size, labels)
        except ValueError as error:
            faults.append(f"axis {axis.name!r} has {error}; fill in the samplesheet column '{column}'")
    faults += [
        f"{column} {value!r} is given, but there is no such axis; leave the samplesheet column empty"
        for column, value in wanted.items()
        if value is not None
    ]
    if faults:
        sizes = ", ".join(f"{axis.name}={n}" for axis, n in zip(metadata.axes, shape, strict=True))
        raise OmeZarrError(metadata.path, f"image of axes {sizes}: {'; '.join(faults)}")
    return tuple(selected)


def _selected_index(column: str, value: int | str | None, size: int, labels: Sequence[str]) -> int:
    names = [f"{i} {labels[i]!r}" if i < len(labels) and labels[i] else f"{i}" for i in range(min(size, 20))]
    known = f"size {size} ({', '.join(names)}{', ...' if size > 20 else ''})"
    if value is None:
        if size > 1:
            raise ValueError(f"{known} and no {column} is selected")
        return 0
    if isinstance(value, str):
        matches = {i for i, label in enumerate(labels[:size]) if label == value.strip()}
        # A label that reads like a number is not confused with an index that does not exist.
        if re.fullmatch("-?[0-9]{1,18}", value.strip()) and (not matches or 0 <= int(value) < size):
            matches.add(int(value))
    else:
        matches = {int(value)}
    if len(matches) > 1:
        raise ValueError(f"{known} and {column} {value!r} names more than one")
    if not matches or not 0 <= min(matches) < size:
        raise ValueError(f"{known} and {column} {value!r} is none of them")
    return matches.pop()
