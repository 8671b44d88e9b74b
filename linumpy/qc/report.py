"""The report of an acquisition, and of a batch, as one self-contained HTML page each.

A page loads nothing, holds no date and no path, and is a pure function of the metrics and pictures given:
equal input, equal bytes. Words and numbers are put together here, coordinates and pixels in
:mod:`linumpy.qc.figures`, the page itself in ``templates/``. The structure of the metrics is fixed by
``assets/metrics_schema.json``.

Memory is that of the pictures; give slices of a coarse level, they are shown with at most 900 pixels a side.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from linumpy.printable import printable_lines
from linumpy.qc import figures

Metrics = Mapping[str, Any]

STEP_TOLERANCE = 0.03
"""A step within this of 1 is called even; the same number is the shaded band of the chart."""

LISTED_SECTIONS, LISTED_WARNINGS = 1200, 200
"""Most sections of the table, and most warnings of a kind: a page of 20,000 sections stays one to scroll through."""
FOLDED_ROWS = 200
"""A longer table is folded."""

AXIS_NAMES = {"yx": "XY", "zx": "XZ", "zy": "YZ"}
# A view along Z is stretched so that it is not a ribbon, and never taller than wide by more than this.
_FLATTEST, _TALLEST = 0.22, 1.3

_MODES = {
    "two_pass": "each section by itself first, then the whole stack",
    "per_section": "each section by itself, without a pass over the whole stack",
    "global": "the whole stack at once, without a pass of its own for each section",
}
_BACKENDS = {
    "native": "linumpy's own N4 solver on the CPU",
    "gpu": "linumpy's own N4 solver on the GPU",
    "cpu": "SimpleITK's N4 filter on the CPU",
}


@dataclass(frozen=True)
class Picture:
    """One slice, before and after, and the field between them.

    Parameters
    ----------
    before, field, after : ndarray of float32, shape (rows, columns)
        Intensities, the bias field as a factor, corrected intensities; all of one shape.
    pixel_mm : tuple of float
        Height and width of a pixel in millimetres.
    axes : {"yx", "zx", "zy"}
        What rows and columns are.
    position : str
        Where the slice lies, for people: ``"z = 80 (0.80 mm)"``.
    cuts : list of float
        Row positions of the cuts: 20 is the edge between rows 19 and 20.
    """

    before: NDArray[np.float32]
    field: NDArray[np.float32]
    after: NDArray[np.float32]
    pixel_mm: tuple[float, float]
    axes: str
    position: str
    cuts: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Check shapes and axes."""
        shapes = {self.before.shape, self.field.shape, self.after.shape}
        if len(shapes) != 1 or self.before.ndim != 2 or not self.before.size:
            raise ValueError(f"before, field, after have the shapes {shapes}; give three 2-D arrays of one shape")
        if self.axes not in AXIS_NAMES:
            raise ValueError(f"axes is {self.axes!r}; choose one of {', '.join(AXIS_NAMES)}")


def render_report(metrics: Metrics, pictures: Mapping[str, Picture], *, title: str | None = None) -> str:
    """Return the report of one acquisition as HTML.

    Parameters
    ----------
    metrics : mapping
        As in ``assets/metrics_schema.json``; ``None`` stands for what is not available.
    pictures : mapping of str to Picture
        Slices in the order to show them; may be empty.
    title : str, optional
        Title of the page; by default the acquisition's name.

    Returns
    -------
    str
        A complete HTML document that refers to nothing outside itself.
    """
    sections = metrics["sections"]
    cuts = [section["z_stop"] for section in sections[:-1]]
    planes = metrics["planes"]
    steps = {when: [section[f"step_{when}"] for section in sections[:-1]] for when in ("before", "after")}
    n_planes = len(planes["median_before"])
    charts = [
        figures.profile_chart(planes["median_before"], planes["median_after"], cuts),
        figures.step_chart(n_planes, cuts, steps["before"], steps["after"], STEP_TOLERANCE),
    ]
    codes = _codes_of_section(metrics["warnings"])
    bounds = [(section["z_start"], section["z_stop"]) for section in sections]
    page = page_environment().get_template("report.html.j2")
    return page.render(
        title=title or metrics["acquisition"],
        m=metrics,
        lead=_lead(metrics),
        warnings=_grouped(metrics["warnings"]),
        codes_of_section=codes,
        listed=_listed(sections, codes),
        folded=FOLDED_ROWS,
        tiles=_tiles(metrics),
        views=_views(pictures),
        charts=[chart for chart in charts if chart is not None],
        along_z_charts=figures.along_z_charts(metrics["along_z"], cuts) if metrics["along_z"] else [],
        depth_chart=figures.depth_chart(metrics["along_z"], bounds) if metrics["along_z"] else None,
        tolerance=STEP_TOLERANCE,
    )


def render_batch_report(
    metrics: Sequence[Metrics],
    *,
    title: str = "All acquisitions",
    links: Mapping[str, str] | None = None,
    unfinished: Sequence[str] = (),
) -> str:
    """Return the overview of a batch as HTML, acquisitions sorted by name.

    Parameters
    ----------
    metrics : sequence of mapping
        The metrics of each acquisition.
    title : str
        Title of the page.
    links : mapping of str to str, optional
        Where each acquisition's report lies, relative to the page; by default ``<acquisition>/report.html``.
    unfinished : sequence of str
        Names of acquisitions that were asked for and could not be finished.

    Returns
    -------
    str
        A complete HTML document.
    """
    ordered = sorted(metrics, key=lambda m: str(m["acquisition"]))
    rows = [
        {
            "m": m,
            "link": (links or {}).get(m["acquisition"], f"{quote(m['acquisition'], safe='')}/report.html"),
            "warnings": _grouped(m["warnings"]),
        }
        for m in ordered
    ]
    page = page_environment().get_template("batch.html.j2")
    return page.render(title=title, rows=rows, unfinished=unfinished, tolerance=STEP_TOLERANCE)


def page_environment() -> jinja2.Environment:
    """Return the templates, with numbers as people read them."""
    loader = jinja2.PackageLoader("linumpy.qc", "templates")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        factor=_factor,
        count=_count,
        thousandths=_thousandths,
        lattice=_lattice,
        plain=_plain,
        size=_size,
    )
    environment.globals["include_raw"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment


def _shown(value: Any) -> Any:
    """Escape for the eye what is escaped for HTML afterwards; the templates' own markup is left alone."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# Numbers as people read them. None becomes an en dash everywhere.


def _number(value: float | None, pattern: str) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return format(value, pattern).replace(",", "\u202f").replace("-", "−")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else _number(100 * value, f".{digits}f") + " %"


def _factor(value: float | None, digits: int = 3) -> str:
    return _number(value, f".{digits}f")


def _count(value: int | None) -> str:
    return _number(value, ",d" if isinstance(value, int) else ",.0f")


def _thousandths(value: float | None) -> str:
    return "–" if value is None else _number(1000 * value, ".2f")


def _lattice(shape: Sequence[int]) -> str:
    return "×".join(str(n) for n in shape)


def _size(sizes: Sequence[float]) -> str:
    return "\u00a0×\u00a0".join(_number(size, ",.6g") for size in sizes)


def _plain(value: Any) -> str:
    """Return a setting as one would type it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _lead(metrics: Metrics) -> list[str]:
    """Say in sentences what was run and on what."""
    image, sections = metrics["image"], metrics["sections"]
    shape, voxel_um = image["shape"], image["voxel_size_um"]
    extent_mm = [n * size / 1000 for n, size in zip(shape, voxel_um, strict=True)]
    depths = [section["planes"] for section in sections]
    deep = f"{depths[0]}" if min(depths) == max(depths) else f"{min(depths)} to {max(depths)}"
    many = "1 serial section" if len(sections) == 1 else f"{_count(len(sections))} serial sections"
    planes = "plane" if max(depths) == 1 else "planes"
    each = "" if len(sections) == 1 else " each"
    chosen = [f"{axis} {image[axis]}" for axis in ("channel", "timepoint") if image.get(axis) is not None]
    of = f" ({', '.join(chosen)})" if chosen else ""
    holds = (
        f"{image['name']}{of} holds {many} of {deep} {planes}{each}: {_size(shape)} voxels (Z × Y × X) of "
        f"{_size(voxel_um)} µm, a block of {_size([float(f'{e:.3g}') for e in extent_mm])} mm."
    )
    if not metrics["tissue_fraction"]:
        return [holds, "No tissue was found in it, so nothing was corrected."]
    return [
        holds,
        f"N4 bias-field correction was fitted to {_MODES.get(metrics['mode'], metrics['mode'])}, with "
        f"{_BACKENDS.get(metrics['backend'], metrics['backend'])}, on the "
        f"{_percent(metrics['tissue_fraction'], 0)} of the voxels that are tissue.",
        *_besides(metrics),
    ]


def _besides(metrics: Metrics) -> list[str]:
    """Say what was done besides N4, and how the field was applied."""
    parameters, dtype = metrics["parameters"], metrics["image"]["dtype"]
    sentences = []
    if parameters.get("depth_profile"):
        sentences.append(
            "What the planes of a section differ by was told from the change of the tissue, over all sections at once."
        )
    if parameters.get("harmonise") == "gain":
        sentences.append("Each section got one gain, for the part of its level that the data do not take for tissue.")
    if parameters.get("offset"):
        sentences.append(f"An offset of {parameters['offset']:g} was subtracted from every voxel first.")
    strength = parameters.get("strength", 1)
    mixed = "" if strength == 1 else f" at a strength of {strength:g}"
    sentences.append(f"The field that was found was divided out of every voxel{mixed}.")
    changes = []
    if (match := metrics["match"]) and match["n_matched"] > 1:
        changes.append(
            f"All voxels were multiplied by {_factor(match['factor'])}, one factor that brings the median of the "
            f"tissue to {_number(match['common_level'], '.4g')}, that of the middling of {match['n_matched']} "
            "acquisitions."
        )
    if parameters.get("zero_outside_mask"):
        changes.append("Voxels outside the tissue were set to 0.")
    if parameters.get("output_dtype") == "input" and dtype != "float32":
        changes.append(f"The result was rounded and clipped to {dtype}.")
    return sentences + (changes or ["Nothing else was changed."])


def _tiles(metrics: Metrics) -> list[dict[str, Any]]:
    summary = metrics["summary"]
    kinds = (
        ("step_deviation", "Step at a cut", "typical jump in brightness from one section to the next"),
        ("cv_within", "Inside sections", "typical variation of the planes' brightness inside a section"),
        ("jump", "Inside, plane to plane", "typical jump from a plane to the next inside a section"),
        ("cv_planes", "All planes", "variation of the planes' brightness from top to bottom"),
    )
    worst = {
        "step_deviation": (summary["step_worst_after"], "after section"),
        "cv_within": (summary["cv_worst_after"], "in section"),
        "jump": (summary["jump_worst_after"], "at plane"),
    }
    tiles = []
    for key, name, meaning in kinds:
        found, where = worst.get(key, (None, ""))
        if found is not None:
            index = found["plane" if key == "jump" else "section"]
            meaning += f"; at worst {_percent(found['value'])} is left, {where} {index}"
        before, after = summary[f"{key}_before"], summary[f"{key}_after"]
        if before is not None or after is not None:
            tiles.append({"name": name, "meaning": meaning, "before": before, "after": after})
    return tiles


def _grouped(warnings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group warnings by code, in order of first appearance: a hundred sections may say the same."""
    groups: dict[str, dict[str, Any]] = {}
    for warning in warnings:
        group = groups.setdefault(warning["code"], {"code": warning["code"], "entries": [], "count": 0})
        group["count"] += 1
        if group["count"] <= LISTED_WARNINGS:
            group["entries"].append(warning)
    return list(groups.values())


def _listed(sections: Sequence[Mapping[str, Any]], codes: Mapping[int, Sequence[str]]) -> list[Mapping[str, Any]]:
    """Return the sections of the table: all, or of very many the most uneven, some with a warning, every k-th."""
    if len(sections) <= LISTED_SECTIONS:
        return list(sections)
    share = LISTED_SECTIONS // 3
    stepped = [section for section in sections if section["step_after"] is not None]
    uneven = sorted(stepped, key=lambda section: -abs(section["step_after"] - 1))[:share]
    warned = [section for section in sections if section["index"] in codes][:share]
    spread = sections[:: -(-len(sections) // share)]
    chosen = {section["index"]: section for section in (*uneven, *warned, *spread)}
    return [chosen[index] for index in sorted(chosen)]


def _codes_of_section(warnings: Sequence[Mapping[str, Any]]) -> dict[int, list[str]]:
    codes: dict[int, list[str]] = {}
    for warning in warnings:
        if warning["section"] is not None and warning["code"] not in codes.setdefault(warning["section"], []):
            codes[warning["section"]].append(warning["code"])
    return codes


def _views(pictures: Mapping[str, Picture]) -> dict[str, Any]:
    """Encode the pictures on one intensity scale and one field scale."""
    if not pictures:
        return {"slices": []}
    intensities = np.concatenate([np.ravel(i) for p in pictures.values() for i in (p.before, p.after)])
    intensities = intensities[np.isfinite(intensities)]
    low, high = (float(v) for v in np.percentile(intensities, (0.5, 99.8))) if intensities.size else (0.0, 1.0)
    low = min(low, 0.0) if low < 0 else 0.0
    high = high if high > low else low + 1.0
    logs = {name: np.log(np.maximum(p.field, 1e-6)) for name, p in pictures.items()}
    everything = np.concatenate([np.ravel(log) for log in logs.values()])
    everything = everything[np.isfinite(everything)]
    middle = float(np.median(everything)) if everything.size else 0.0
    limit = max(float(np.percentile(np.abs(everything - middle), 99.5)) if everything.size else 0.0, 0.01)
    grey, colours = figures.grey_palette(), figures.field_palette()
    slices = []
    for name, picture in pictures.items():
        if picture.axes[0] == "z" and picture.before.shape[0] == 1:
            continue  # one plane seen from its side shows nothing
        height_mm, width_mm = (n * size for n, size in zip(picture.before.shape, picture.pixel_mm, strict=True))
        stretch = _stretch(height_mm / width_mm) if picture.axes[0] == "z" else 1.0
        bar_percent, bar_label = figures.scale_bar(width_mm)
        slices.append(
            {
                "id": "".join(c if c.isalnum() else "-" for c in name),
                "axes": AXIS_NAMES[picture.axes],
                "position": picture.position,
                "aspect": round(width_mm / (height_mm * stretch), 4),
                "stretch": stretch,
                "bar_percent": bar_percent,
                "bar_label": bar_label,
                "cuts": figures.marked([round(100 * cut / picture.before.shape[0], 2) for cut in picture.cuts]),
                "before": figures.to_data_uri(picture.before, low, high, grey),
                "field": figures.to_data_uri(logs[name] - middle, -limit, limit, colours),
                "after": figures.to_data_uri(picture.after, low, high, grey),
            }
        )
    return {
        "slices": slices,
        "low": low,
        "high": high,
        "field_low": math.expm1(-limit),
        "field_high": math.expm1(limit),
        "field_ticks": figures.percent_ticks(limit),
        "field_gradient": figures.css_gradient(colours),
    }


def _stretch(aspect: float) -> float:
    """Return by how much Z is stretched on the page: 1 unless the view would be a ribbon or a tower."""
    if aspect < _FLATTEST:
        return float(math.ceil(_FLATTEST / aspect))
    if aspect > _TALLEST:
        return float(f"{_TALLEST / aspect:.2g}")
    return 1.0
