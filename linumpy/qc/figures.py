"""Pictures and charts of the report: pixels to PNG, numbers to coordinates, no plotting library.

Everything is a pure function of its arrays, so equal input gives equal bytes: PNG without any metadata,
coordinates rounded to a tenth of a pixel. Charts are handed to the template as coordinates, so that their
colours come from the page's style sheet and follow its light and dark themes.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float | None]

MAX_PIXELS = 900
"""Longest side of an embedded picture; larger ones are averaged down."""

MAX_CUTS = 500
"""Most cuts that are marked: more would be closer than two pixels."""

MAX_POINTS = 2000
"""Most points of a series; of more, the least and the greatest of each run are drawn."""

DENSE_CUTS = 60
MAX_PROFILES = 60
"""Most depth profiles that are drawn."""

CHART_WIDTH, CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 1100.0, 74.0, 14.0, 20.0, 40.0

# Dark blue, where the image was dim, over a neutral middle to dark red, where it was bright.
_FIELD_STOPS = ("#0d2f5e", "#2a6bad", "#7fb2da", "#eef0ee", "#f2b083", "#cf5b2b", "#6f1710")


def grey_palette() -> NDArray[np.uint8]:
    """Return 256 greys, uint8 (256, 3)."""
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def field_palette() -> NDArray[np.uint8]:
    """Return 256 colours from dim to bright, uint8 (256, 3)."""
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in _FIELD_STOPS], float)
    at = np.linspace(0, 1, len(stops))
    channels = [np.interp(np.linspace(0, 1, 256), at, stops[:, c]) for c in range(3)]
    palette: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return palette


def css_gradient(palette: NDArray[np.uint8]) -> str:
    """Return the palette as a CSS gradient from left to right."""
    colours = ["#" + bytes(palette[i]).hex() for i in range(0, 256, 15)]
    return f"linear-gradient(to right, {', '.join(colours)})"


def to_data_uri(image: NDArray[np.floating], low: float, high: float, palette: NDArray[np.uint8]) -> str:
    """Return `image` as a PNG data URI, with the palette's colours spread from `low` to `high`.

    Values beyond get the colour of their end; values that are not finite get the first.
    """
    values = np.nan_to_num(_averaged_down(image), nan=low, posinf=high, neginf=low)
    indices = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows, columns = indices.shape
    scanlines = np.zeros((rows, columns + 1), np.uint8)  # the leading zero of a line: no PNG filter
    scanlines[:, 1:] = indices
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)  # 8 bits, palette
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
        (b"IEND", b""),
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _averaged_down(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Average blocks of pixels until no side is longer than MAX_PIXELS; a rest of a block is left out."""
    by_row, by_column = (math.ceil(n / MAX_PIXELS) for n in image.shape)
    rows, columns = image.shape[0] // by_row, image.shape[1] // by_column
    blocks = image[: rows * by_row, : columns * by_column].reshape(rows, by_row, columns, by_column)
    averaged: NDArray[np.floating] = blocks.mean(axis=(1, 3))
    return averaged


def scale_bar(width_mm: float) -> tuple[float, str]:
    """Return the length of a scale bar in percent of `width_mm`, at most 30, and its label."""
    exponent = math.floor(math.log10(0.3 * width_mm))
    length = max(m * 10.0**exponent for m in (1, 2, 5) if m * 10.0**exponent <= 0.3 * width_mm * (1 + 1e-9))
    label = f"{length:g} mm" if length >= 1 else f"{length * 1000:g} µm"
    return round(100 * length / width_mm, 2), label


def percent_ticks(limit: float) -> list[tuple[float, str]]:
    """Return (position in percent, label) of ticks on a bar of log factors, ``-limit`` to ``limit``.

    The two ends are labelled by the page; a tick too close to one is left out.
    """
    ticks = [(50.0, "0 %")]
    for percent in (200, 100, 50, 25, 10, 5, 2, 1):
        for sign in (1, -1):
            if percent >= 100 and sign < 0:
                continue
            at = 50 + 50 * math.log1p(sign * percent / 100) / limit
            if all(abs(at - other) > 14 for other, _ in ticks) and 12 < at < 88:
                ticks.append((round(at, 2), f"{sign * percent:+d} %".replace("-", "−")))
    return sorted(ticks)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers between `low` and `high`, some `about` of them."""
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Chart:
    """Coordinates of a chart over the planes, in the pixels of its view box."""

    title: str
    y_label: str
    height: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    cuts: list[float]
    dense: bool
    """Too many cuts for a line each, or for large dots."""
    curves: list[tuple[str, str]] = field(default_factory=list)
    """Name of the series, path."""
    areas: list[tuple[str, str]] = field(default_factory=list)
    """Name of the series, outline."""
    dots: list[tuple[str, float, float, str]] = field(default_factory=list)
    """Name of the series, x, y, hover text."""
    x_label: str = "plane (Z)"
    band: tuple[float, float] | None = None
    """Top and height of a shaded band."""
    width: float = CHART_WIDTH
    left: float = CHART_LEFT
    right: float = CHART_WIDTH - CHART_RIGHT
    top: float = CHART_TOP

    @property
    def bottom(self) -> float:
        """The x axis."""
        return self.height - CHART_BOTTOM


def thinned(values: Values, most: int = MAX_POINTS) -> list[tuple[int, float | None]]:
    """Return (index, value) of at most `most` values: all, or the least and the greatest of each run of them."""
    run = -(-2 * len(values) // most) if len(values) > most else 1
    points: list[tuple[int, float | None]] = []
    for first in range(0, len(values), run):
        known = [(v, i) for i, v in enumerate(values[first : first + run], first) if v is not None and math.isfinite(v)]
        extremes = {i: v for v, i in (min(known), max(known))} if known else {first: None}
        points += sorted(extremes.items())
    return points


def marked(cuts: Sequence[float]) -> list[float]:
    """Return the cuts that are marked: all, or none of very many."""
    return list(cuts) if len(cuts) <= MAX_CUTS else []


class _Axes:
    """Maps planes and values to pixels."""

    def __init__(self, n_planes: int, low: float, high: float, height: float) -> None:
        self.n_planes, self.low, self.high, self.height = n_planes, low, high, height

    def x(self, plane: float) -> float:
        share = (plane + 0.5) / self.n_planes
        return round(CHART_LEFT + share * (CHART_WIDTH - CHART_LEFT - CHART_RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.height - CHART_BOTTOM - share * (self.height - CHART_BOTTOM - CHART_TOP), 1)

    def plane_ticks(self) -> list[tuple[float, str]]:
        ticks = [t for t in nice_ticks(0, max(self.n_planes - 1, 1), 10) if t == int(t) and t < self.n_planes]
        return [(self.x(t), f"{int(t)}") for t in ticks]

    def path(self, values: Values) -> str:
        """Return a line through the values, broken where there is none; a lone value becomes a short dash."""
        commands, pen_down = [], False
        points = thinned(values)
        for i, (plane, value) in enumerate(points, start=1):
            if value is None or not math.isfinite(value):
                pen_down = False
                continue
            x, y = self.x(plane), self.y(value)
            if pen_down:
                commands.append(f"L{x} {y}")
            elif i < len(points) and points[i][1] is not None:
                commands.append(f"M{x} {y}")
            else:
                commands.append(f"M{x - 3:.1f} {y}h6")
            pen_down = True
        return "".join(commands)

    def area(self, low: Values, high: Values, most: int = MAX_POINTS) -> str:
        """Return the outline of what lies between two series, in steps of a plane or, of very many, of a run."""
        run = -(-2 * len(low) // most) if len(low) > most else 1
        outlines, upper, lower = [], list[str](), list[str]()
        for first in [*range(0, len(low), run), None]:
            known = []
            if first is not None:
                pairs = zip(low[first : first + run], high[first : first + run], strict=True)
                known = [(a, b) for a, b in pairs if a is not None and b is not None]
            if first is None or not known:
                if upper:
                    outlines.append(f"M{'L'.join(upper + lower[::-1])}Z")
                upper, lower = [], []
                continue
            last = min(first + run, len(low))
            ends = (self.x(first - 0.5), self.x(last - 0.5))
            upper += [f"{x} {self.y(max(b for _, b in known))}" for x in ends]
            lower += [f"{x} {self.y(min(a for a, _ in known))}" for x in ends]
        return "".join(outlines)


def along_z_charts(along_z: Mapping[str, Any], cuts: Sequence[int]) -> list[Chart]:
    """Return the level along Z with its error, the change that was kept, and the tissue that tells them."""
    errors, n_planes = along_z["errors"], len(along_z["levels"])
    if n_planes < 2 or all(error is None for error in errors):
        return []

    def percent(values: Values) -> list[float | None]:
        return [None if v is None or e is None else 100 * math.expm1(v) for v, e in zip(values, errors, strict=True)]

    levels, kept = percent(along_z["levels"]), percent(along_z["kept"])
    known = [v for v in (*levels, *kept) if v is not None]
    span = max(max(known) - min(known), 4.0)
    least, most = min(known) - span, max(known) + span  # a wider band is cut off here
    low, high = (
        [
            None if e is None else min(max(100 * math.expm1(v + side * e), least), most)
            for v, e in zip(along_z["levels"], errors, strict=True)
        ]
        for side in (-2, 2)
    )
    reach = [v for v in (*known, *low, *high) if v is not None]
    axes = _Axes(n_planes, min(reach) - 0.06 * span, max(reach) + 0.06 * span, 300.0)
    odd = set(along_z["odd_planes"])
    odd_levels = [level if plane in odd else None for plane, level in enumerate(levels)]
    tissue = [float(n) for n in along_z["tissue"]]
    support = _Axes(n_planes, 0.0, 1.05 * max(tissue), 130.0)
    marks = marked([axes.x(cut - 0.5) for cut in cuts])
    dense = len(cuts) > DENSE_CUTS
    return [
        Chart(
            title=f"Brightness that the sections bring to {n_planes} planes, with its error, and what was kept",
            y_label="brightness relative to the stack",
            height=axes.height,
            x_ticks=axes.plane_ticks(),
            y_ticks=[(axes.y(t), f"{t:+g} %".replace("-", "−") if t else "0") for t in nice_ticks(axes.low, axes.high)],
            cuts=marks,
            dense=dense,
            areas=[("spread", axes.area(low, high))],
            curves=[("kept", axes.path(kept)), ("level", axes.path(levels))],
            dots=[
                ("odd", axes.x(plane), axes.y(level), f"plane {plane}: {level:+.1f} %, badly taken")
                for plane, level in thinned(odd_levels)
                if level is not None
            ],
        ),
        Chart(
            title=f"Samples of tissue that {n_planes} planes have",
            y_label="samples of tissue",
            height=support.height,
            x_ticks=support.plane_ticks(),
            y_ticks=[(support.y(t), f"{t:,.6g}".replace(",", "\u202f")) for t in nice_ticks(0, support.high, 2)],
            cuts=marks,
            dense=dense,
            areas=[("support", support.area([0.0] * n_planes, tissue))],
        ),
    ]


def depth_chart(along_z: Mapping[str, Any], bounds: Sequence[tuple[int, int]]) -> Chart | None:
    """Return the depth profile that the sections share, and each section's own, or None where none is deeper than 1.

    A section's own is relative to its mean; of very many sections, some at equal distances are drawn.
    """
    shared = along_z["profile"]
    if len(shared) < 2:
        return None
    measured = [
        (start, stop)
        for start, stop in bounds
        if stop - start > 1 and any(error is not None for error in along_z["errors"][start:stop])
    ]
    own = []
    for start, stop in measured[:: -(-len(measured) // MAX_PROFILES) or 1]:
        levels = np.array(along_z["levels"][start:stop])
        # Sections that are not as deep as others are compared over the depths that they have.
        own.append((100 * np.expm1(levels - levels.mean() + np.mean(shared[: len(levels)]))).tolist())
    common = (100 * np.expm1(shared)).tolist()
    values = [v for profile in (common, *own) for v in profile]
    span = max(max(values) - min(values), 4.0)
    axes = _Axes(len(shared), min(values) - 0.06 * span, max(values) + 0.06 * span, 260.0)
    return Chart(
        title=f"Depth profiles of {len(own)} sections, and the one they share",
        x_label="depth in the section, planes",
        y_label="brightness relative to the section",
        height=axes.height,
        x_ticks=axes.plane_ticks(),
        y_ticks=[(axes.y(t), f"{t:+g} %".replace("-", "−") if t else "0") for t in nice_ticks(axes.low, axes.high)],
        cuts=[],
        dense=False,
        curves=[("own", "".join(axes.path(profile) for profile in own)), ("level", axes.path(common))],
    )


def profile_chart(before: Values, after: Values, cuts: Sequence[int]) -> Chart | None:
    """Return the plane medians before and after as a chart, or None for one plane or no tissue."""
    known = [v for v in (*before, *after) if v is not None and math.isfinite(v)]
    if len(before) < 2 or not known:
        return None
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    axes = _Axes(len(before), low - margin, high + margin, 300.0)
    return Chart(
        title=f"Median tissue intensity of {len(before)} planes before and after correction",
        y_label="median of tissue",
        height=axes.height,
        x_ticks=axes.plane_ticks(),
        y_ticks=[(axes.y(t), f"{t:,.6g}".replace(",", "\u202f")) for t in nice_ticks(axes.low, axes.high)],
        cuts=marked([axes.x(cut - 0.5) for cut in cuts]),
        dense=len(cuts) > DENSE_CUTS,
        curves=[("before", axes.path(before)), ("after", axes.path(after))],
    )


def step_chart(n_planes: int, cuts: Sequence[int], before: Values, after: Values, tolerance: float) -> Chart | None:
    """Return the step at each cut, in percent, as a chart, or None where no cut has any."""
    series = {
        name: [None if v is None else 100 * (v - 1) for v in values]
        for name, values in (("before", before), ("after", after))
    }
    known = [abs(v) for values in series.values() for v in values if v is not None]
    if not known:
        return None
    reach = 1.1 * max(*known, 100 * tolerance)
    axes = _Axes(n_planes, -reach, reach, 220.0)
    top = axes.y(100 * tolerance)
    return Chart(
        title=f"Step in brightness at {len(cuts)} cuts before and after correction",
        y_label="step at the cut",
        height=axes.height,
        x_ticks=axes.plane_ticks(),
        y_ticks=[(axes.y(t), f"{t:+g} %".replace("-", "−") if t else "0") for t in nice_ticks(-reach, reach, 4)],
        cuts=marked([axes.x(cut - 0.5) for cut in cuts]),
        dense=len(cuts) > DENSE_CUTS,
        dots=[
            (name, axes.x(cuts[i] - 0.5), axes.y(value), f"cut {i + 1} (plane {cuts[i]}), {name}: {value:+.1f} %")
            for name, values in series.items()
            for i, value in thinned(values)
            if value is not None
        ],
        band=(top, round(axes.y(-100 * tolerance) - top, 1)),
    )
