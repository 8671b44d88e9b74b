"""What a run reads, held against what it writes over: no input lies where a result is put, nor around it.

The head job gathers the facts (``workflows/files.nf``), since a task in a container does not see the places. Every path
comes as its steps: all that it leads through from the root, symbolic links followed one by one. Two steps are the same
place where their names are (upper or lower case), where the file system knows them by one number, or where the table of
mounts leads both to one folder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linumpy.plan.samplesheet import Row

__all__ = ["overwritten", "same_place"]

Step = tuple[str, str | None]
Steps = Sequence[Step]

OF_AN_ACQUISITION = {
    "corrected.ome.zarr",
    "mask.ome.zarr",
    "bias_field.ome.zarr",
    "bias",
    "report.html",
    "metrics.json",
    "digests.tsv",
}
OF_A_TUNING = {"tuning.html", "tuning.json", "tuned_parameters.json"}
OF_A_RUN = {
    "parameters.json",
    "inputs.json",
    "software.json",
    "run.json",
    "digests.tsv",
    "software_versions.tsv",
    "main.nf",
    "trace.tsv",
    "timeline.html",
    "nextflow_report.html",
}
OF_THE_SYSTEM = {".DS_Store", "Thumbs.db"}
"""Files that a desktop leaves in every folder that it shows."""

COLUMNS = ("image", "mask", "sections")


def overwritten(surroundings: Mapping[str, Any], rows: Iterable[Row], *, tune: bool) -> list[str]:
    """Name every input that this run would write over, and all else that it would replace and must not.

    Parameters
    ----------
    surroundings : mapping
        What ``workflows/files.nf`` found: ``inputs`` by cell, ``others`` (further files that are read), ``kept``
        (folders that must not lie in a place), ``work`` (folders that the run works in), each as steps; ``files`` and
        ``acquisitions``, the places in ``outdir`` with their content; ``names`` in ``outdir``; ``mounts``.
    rows : iterable of Row
        The samplesheet.
    tune : bool
        A tuning is published, no correction.

    Returns
    -------
    list of str
        One line each: which row and column, which path, the way out.
    """
    mounts = _mounts(surroundings["mounts"])
    outdir = surroundings["outdir"].removeprefix("file://")
    rows = [row for row in rows if row.acquisition in surroundings["acquisitions"]]
    faults: list[str] = []
    read: list[tuple[str, Steps]] = [
        (f"{row.where}: {column}", surroundings["inputs"][cell])
        for row in rows
        for column in COLUMNS
        if (cell := getattr(row, column)) in surroundings["inputs"]
    ]
    read += list(surroundings["others"].items())
    results = [
        (
            f"where this run puts the results of {row.acquisition}",
            surroundings["acquisitions"][row.acquisition]["steps"],
        )
        for row in rows
    ]
    pages = [(f"where this run puts its {name}", found["steps"]) for name, found in surroundings["files"].items()]
    work = [(f"{what}, which is not kept", steps) for what, steps in surroundings["work"].items()]
    way_out = {
        "results": "give another --outdir, or another name to the acquisition",
        "pages": "give another --outdir",
        "work": "move it, or give another -work-dir",
    }
    for kind, places in (("results", results), ("pages", pages), ("work", work)):
        index = _Index(places, mounts)
        for where, steps in read:
            faults += [f"{where}: {said}; {way_out[kind]}" for said in index.meet(steps)]
    index = _Index(results, mounts)
    for what, steps in surroundings["kept"].items():
        faults += [f"{what}: {said}; {way_out['results']}" for said in index.hold(steps)]
    for row in rows:
        faults += [f"{row.where}: acquisition: {fault}" for fault in _not_its_own(surroundings, outdir, row, tune=tune)]
    return faults + _not_of_a_run(surroundings["files"], outdir)


def same_place(one: Step, other: Step, mounts: str = "") -> bool:
    """Tell whether two steps are one place; `mounts` is the text of ``/proc/self/mountinfo``."""
    table = _mounts(mounts)
    return bool(_identities(one, table) & _identities(other, table))


class _Index:
    """Places by everything they are known by: ten thousand inputs are held against as many places."""

    def __init__(self, places: Sequence[tuple[str, Steps]], mounts: Sequence[tuple[str, str]]) -> None:
        self._mounts = mounts
        self._at: dict[str, tuple[str, Steps]] = {}
        self._through: dict[str, tuple[str, Steps]] = {}
        for what, steps in places:
            for step in steps:
                for identity in _identities(step, mounts):
                    self._through.setdefault(identity, (what, steps))
            for identity in _identities(steps[-1], mounts):
                self._at.setdefault(identity, (what, steps))

    def hold(self, steps: Steps) -> list[str]:
        """Say in which place a path lies, or through which it leads."""
        for step in steps:
            for identity in sorted(_identities(step, self._mounts)):
                if identity in self._at:
                    what, place = self._at[identity]
                    verb = "is" if step == steps[-1] else "lies in"
                    return [f"{steps[-1][0]} {verb} {place[-1][0]}, {what}"]
        return []

    def meet(self, steps: Steps) -> list[str]:
        """Say in which place a path lies, or which lies in it."""
        found = self.hold(steps)
        for identity in [] if found else sorted(_identities(steps[-1], self._mounts)):
            if identity in self._through:
                what, place = self._through[identity]
                return [f"{steps[-1][0]} contains {place[-1][0]}, {what}"]
        return found


def _identities(step: Step, mounts: Sequence[tuple[str, str]]) -> set[str]:
    path, key = step
    spelled = _folded(path)
    found = {spelled}
    if key:
        found.add(key)
    for point, source in mounts:  # the longest first
        if spelled == point or spelled.startswith(point.rstrip("/") + "/"):
            found.add(source + spelled[len(point.rstrip("/")) :])
            break
    return found


def _folded(path: str) -> str:
    """Return a path as a file system reads it that does not tell upper case from lower."""
    return unicodedata.normalize("NFC", path).casefold()


def _mounts(table: str) -> list[tuple[str, str]]:
    """Return (mount point, device and the folder of it that is mounted there), the longest point first."""
    found: dict[str, str] = {}
    for line in table.splitlines():
        _, _, device, root, point = line.split(" ")[:5]
        root, point = (re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), path) for path in (root, point))
        found[_folded(point)] = f"{device}:{_folded(root).rstrip('/')}"  # the last hides those below
    return sorted(found.items(), key=lambda mount: -len(mount[0]))


def _not_its_own(surroundings: Mapping[str, Any], outdir: str, row: Row, *, tune: bool) -> list[str]:
    """Say what stands where an acquisition's results go, unless it is an earlier result of the same acquisition."""
    name = row.acquisition
    found = surroundings["acquisitions"][name]
    twins = [one for one in surroundings["names"] if one != name and _folded(one) == _folded(name)]
    if twins:
        return [f"{outdir}/{twins[0]} is there already; use that name, or another --outdir (case does not count)"]
    if found["is_file"]:
        return [f"{outdir}/{name} is a file, where a folder of results would go; give another --outdir"]
    if not found["names"]:
        return []
    known = OF_A_TUNING if tune else OF_AN_ACQUISITION
    strange = sorted(set(found["names"]) - known - OF_THE_SYSTEM)
    if strange:
        kind = "tuning" if tune else "correction"
        return [
            f"{outdir}/{name} holds {strange[0]}, which no {kind} of this stage writes, and would be replaced; "
            "move it, or give another --outdir"
        ]
    if not tune and found["owner"] != name:
        whose = f"results of {found['owner']}" if found["owner"] else "no finished results of this stage"
        return [f"{outdir}/{name} holds {whose}, and would be replaced; move it, or give another --outdir"]
    return []


def _not_of_a_run(files: Mapping[str, Any], outdir: str) -> list[str]:
    """Say what stands where the pages and the description of the run go, unless an earlier run wrote them."""
    faults = []
    ours = False
    for name in ("pipeline_info", "pipeline_info.unfinished"):
        strange = sorted(set(files[name]["names"]) - OF_A_RUN - OF_THE_SYSTEM)
        ours |= files[name]["exists"]
        if strange:
            faults.append(
                f"{outdir}/{name} holds {strange[0]}, which this stage does not write, and would be replaced; "
                "give another --outdir"
            )
    foreign = [name for name in ("index.html", "ro-crate-metadata.json") if files[name]["exists"] and not ours]
    return faults + [
        f"{outdir}/{name} is there, and no earlier run of this stage; give another --outdir" for name in foreign
    ]
