"""The samplesheet: which acquisitions, where their images are, how they are cut into sections.

A samplesheet is a CSV file with a header. Columns: ``acquisition`` (name), ``image`` (OME-Zarr), ``n_sections`` or
``sections`` (a CSV file with ``z_start,z_stop`` rows), and, where needed, ``mask`` (OME-Zarr), ``channel`` and
``timepoint``. An empty cell means not given; where ``n_sections`` and ``sections`` are both empty, the sections are
found in the data (:mod:`linumpy.plan.found_sections`). Paths are absolute or relative to the samplesheet.
"""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from linumpy.plan.errors import InputError

__all__ = ["COLUMNS", "RESERVED_NAMES", "Row", "read_samplesheet", "read_sections"]

COLUMNS = ("acquisition", "image", "n_sections", "sections", "mask", "channel", "timepoint")

MOST_CSV_BYTES = 8 << 20
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
SHOWN_CHARACTERS = 40
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
RESERVED_NAMES = ("index.html", "pipeline_info", "pipeline_info.unfinished", "ro-crate-metadata.json")
"""What is published beside the acquisitions' folders."""


@dataclass(frozen=True)
class Row:
    """One acquisition as the samplesheet gives it; None where a cell is empty.

    ``line`` is the line of the file, the header being line 1.
    """

    line: int
    acquisition: str
    image: str
    n_sections: int | None = None
    sections: str | None = None
    mask: str | None = None
    channel: str | None = None
    timepoint: int | None = None

    @property
    def where(self) -> str:
        """The row as errors name it."""
        return _where(self.line, self.acquisition)


def read_samplesheet(path: str | Path) -> tuple[list[Row], list[str]]:
    """Read a samplesheet and find every fault that shows without opening an image.

    Parameters
    ----------
    path : path
        The CSV file, UTF-8.

    Returns
    -------
    rows : list of Row
        The rows without a fault, in the order of the file.
    faults : list of str
        One line each: row, column, value, way out.

    Raises
    ------
    InputError
        If the file has no header, a column that is not known, or no rows: nothing else can be said then.
    """
    lines = _csv_lines(Path(path), _check_separators)
    if not lines:
        raise InputError([f"samplesheet {Path(path).name} is empty; give a header ({', '.join(COLUMNS[:3])}) and rows"])
    header = lines[0][1]
    _check_header(header)
    if len(lines) == 1:
        raise InputError([f"samplesheet {Path(path).name} has a header and no rows; give one row an acquisition"])
    rows, faults = [], []
    for line, cells in lines[1:]:
        if len(cells) > len(header):
            faults.append(
                f"samplesheet line {line}: {len(cells)} cells, the header has {len(header)} columns; put a cell that "
                "holds a comma between double quotes"
            )
            continue
        values = dict(itertools.zip_longest(header, cells, fillvalue=""))
        row, row_faults = _read_row(line, values)
        faults += row_faults
        if row is not None:
            rows.append(row)
    return rows, faults + _duplicates(lines)


def read_sections(path: str | Path) -> list[tuple[int, int]]:
    """Read section bounds from a CSV file with the columns ``z_start,z_stop``.

    Parameters
    ----------
    path : path
        The CSV file, one row a section, in order.

    Returns
    -------
    list of (int, int)
        Not checked against any volume: see :func:`linumpy.intensity.sections.section_bounds`.

    Raises
    ------
    ValueError
        Naming line and value, if the header or a number is wrong, or the file cannot be read.
    """
    try:
        lines = _csv_lines(Path(path))
    except InputError as error:
        raise ValueError(*error.faults) from error
    if not lines or lines[0][1] != ["z_start", "z_stop"]:
        found = ",".join(lines[0][1]) if lines else "nothing"
        raise ValueError(f"the first line must be z_start,z_stop, found {found}")
    bounds = []
    for line, cells in lines[1:]:
        if len(cells) != 2 or not all(map(_WHOLE_NUMBER.fullmatch, cells)):
            raise ValueError(f"line {line}: {_shown(','.join(cells))} is not two whole numbers (z_start,z_stop)")
        bounds.append((int(cells[0]), int(cells[1])))
    if not bounds:
        raise ValueError("no sections below the header; give one z_start,z_stop row a section")
    return bounds


def _csv_lines(path: Path, check_first: Callable[[str, list[str]], None] | None = None) -> list[tuple[int, list[str]]]:
    """Lines that hold anything, with their numbers, cells stripped; the first is checked as soon as it is read."""
    try:
        if (size := path.stat().st_size) > MOST_CSV_BYTES:
            most = f"at most {MOST_CSV_BYTES:,} are read, some 40,000 rows"
            raise InputError([f"{path.name} has {size:,} bytes; {most}: cut the batch into parts"])
        content = path.read_bytes()
    except OSError as error:
        raise InputError([f"{path.name} cannot be read ({error.strerror}); give a CSV file"]) from error
    if b"\0" in content:
        raise InputError([f"{path.name} is in UTF-16, or no text at all; save it as CSV in UTF-8"])
    try:
        # Strict, or a quote that is not closed takes in the rows below it.
        text = content.decode("utf-8-sig")
        if check_first and (first := next(filter(any, csv.reader(io.StringIO(text, newline=""))), None)):
            check_first(path.name, [cell.strip() for cell in first])
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        fault = f"{path.name} line {reader.line_num} is not CSV ({error}); look for a double quote that is not closed"
        raise InputError([fault]) from error
    except UnicodeDecodeError as error:
        raise InputError([f"{path.name} is not a CSV file in UTF-8 ({error}); save it as one"]) from error
    return [(number, cells) for number, cells in lines if any(cells)]


def _check_separators(name: str, header: list[str]) -> None:
    """Tell a file of another form of CSV in one fault: every column would be one."""
    if header[0].lower().startswith("sep="):
        raise InputError(
            [f"samplesheet {name}: the first line is {','.join(header)}; remove it, and separate columns by commas"]
        )
    for separator, told in (
        (";", "semicolons; separate them by commas"),
        ("\t", "tabs; separate them by commas"),
        ("|", "bars; separate them by commas"),
        (",", "commas inside quotes; take the quotes around whole lines away"),
    ):
        columns = [column.strip(" \"'") for column in header[0].split(separator)]
        if len(columns) > 1 and set(columns) & set(COLUMNS):
            raise InputError([f"samplesheet {name}: columns are separated by {told}"])


def _where(line: int, name: str) -> str:
    return f"samplesheet line {line} ({(name if name.isprintable() else _shown(name)) or 'no name'})"


def _shown(text: str) -> str:
    """Quote what a cell holds, its start where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


def _check_header(header: list[str]) -> None:
    faults = []
    for name in header:
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"columns are {', '.join(COLUMNS)}"
            faults.append(f"samplesheet header: unknown column {name!r}; {hint}")
    faults += [
        f"samplesheet header: column {n} stands {k} times; keep one" for n, k in Counter(header).items() if k > 1
    ]
    faults += [f"samplesheet header: column {name} is missing; add it" for name in COLUMNS[:2] if name not in header]
    if not {"n_sections", "sections"} & set(header):
        faults.append("samplesheet header: give a column n_sections (a number) or sections (a CSV of z_start,z_stop)")
    if faults:
        raise InputError(faults)


def _read_row(line: int, values: dict[str, str]) -> tuple[Row | None, list[str]]:
    name = values["acquisition"]
    where = _where(line, name)
    faults = []
    if not _SAFE_NAME.fullmatch(name) or name.lower() in RESERVED_NAMES:
        faults.append(
            f"{where}: acquisition {name!r} cannot name a folder; use letters, digits, '.', '_', '-', "
            f"not starting with '.' or '-', and not {', '.join(RESERVED_NAMES)}"
        )
    if not values["image"]:
        faults.append(f"{where}: image is empty; give the path of an OME-Zarr")
    given = [column for column in ("n_sections", "sections") if values.get(column)]
    if len(given) == 2:
        faults.append(f"{where}: both n_sections and sections are given; give one of them")

    def number(column: str, minimum: int) -> int | None:
        text = values.get(column)
        if not text:
            return None
        if not _WHOLE_NUMBER.fullmatch(text) or int(text) < minimum:
            faults.append(f"{where}: {column} {_shown(text)} is refused; give a whole number, {minimum} or more")
            return None
        return int(text)

    row = Row(
        line=line,
        acquisition=name,
        image=values["image"],
        n_sections=number("n_sections", 1),
        sections=values.get("sections") or None,
        mask=values.get("mask") or None,
        channel=values.get("channel") or None,
        timepoint=number("timepoint", 0),
    )
    return (None if faults else row), faults


def _duplicates(lines: list[tuple[int, list[str]]]) -> list[str]:
    column = lines[0][1].index("acquisition")
    at: dict[str, list[int]] = {}
    for line, cells in lines[1:]:
        if column < len(cells):
            # Folders of some file systems do not tell upper case from lower.
            at.setdefault(cells[column].lower(), []).append(line)
    return [
        f"samplesheet lines {', '.join(map(str, numbers))}: acquisition {name!r} stands more than once; "
        f"give each its own name (case does not count)"
        for name, numbers in at.items()
        if len(numbers) > 1
    ]
