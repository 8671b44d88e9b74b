"""The bias field of an acquisition, as the small thing it is: lattices and gains.

The field at a voxel is the product of its section's field and the field of the whole stack::

    log_bias_field(z, y, x) = profile[z] - log(factor * gain[i]) + section_lattice[i](z, y, x) + global_lattice(z, y, x)
    corrected = image / max(exp(log_bias_field), floor)

with ``i`` the section that plane ``z`` belongs to. A section without tissue has no lattice and keeps its voxels,
as far as the sections go. ``factor`` is 1 unless acquisitions were matched. Profile, gains and lattices live in two
JSON files, ``sections.json`` and ``global.json``, the factor, if any, in ``match.json``, from which
:meth:`BiasModel.load` and :meth:`BiasModel.log_bias_field` give the field of any block at any sampling, bit for bit
the same as the pipeline divided by.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from linumpy.intensity.sections import Sections
from linumpy.n4.lattice import Lattice, evaluate_thin

__all__ = ["MATCH_FILE", "BiasModel", "read_json", "write_json"]

SECTIONS_FILE = "sections.json"
GLOBAL_FILE = "global.json"
MATCH_FILE = "match.json"
_NUMBERS = {int, float, bool, type(None)}
_SCALARS = _NUMBERS | {str}


@dataclass(frozen=True, eq=False)
class BiasModel:
    """The whole bias field of an acquisition.

    Parameters
    ----------
    sections : tuple of (int, int)
        Planes ``(z_start, z_stop)`` of each section.
    voxel_size_mm : tuple of float
        (z, y, x).
    section_fits : tuple of dict or None
        What each section's fit left (``BiasFit.to_dict``); None for a section without tissue or this pass.
    gains : tuple of float
        Factor each section is multiplied by besides its field.
    global_fit : dict or None
        What the stack's fit left; None without this pass.
    profile : tuple of float, optional
        Log level of each plane within its section; all 0 where it was not measured.
    match : dict, optional
        How the acquisition was matched with others, see :func:`linumpy.stage.match.match_levels`: all voxels are
        multiplied by its ``factor`` besides their field.
    """

    sections: Sections
    voxel_size_mm: tuple[float, float, float]
    section_fits: tuple[Mapping[str, Any] | None, ...]
    gains: tuple[float, ...]
    global_fit: Mapping[str, Any] | None = None
    profile: tuple[float, ...] = ()
    match: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        n_planes = self.sections[-1][1]
        object.__setattr__(self, "profile", tuple(self.profile) or (0.0,) * n_planes)
        if len(self.profile) != n_planes:
            raise ValueError(f"the profile has {len(self.profile)} planes, the sections {n_planes}")

    def section_lattice(self, index: int) -> Lattice | None:
        """Lattice of a section; None where `section_fits` has none."""
        if index not in self._lattices:
            self._lattices[index] = _lattice(self.section_fits[index])
        return self._lattices[index]

    @cached_property
    def _lattices(self) -> dict[int, Lattice | None]:
        """Lattices that were asked for: a task may see a few of many thousand sections."""
        return {}

    @cached_property
    def _section_starts(self) -> NDArray[np.int64]:
        return np.array([z_start for z_start, _ in self.sections], np.int64)

    def section_of(self, plane: int) -> int:
        """Return the index of the section that a plane belongs to."""
        return int(np.searchsorted(self._section_starts, plane, side="right")) - 1

    @cached_property
    def global_lattice(self) -> Lattice | None:
        """Lattice of the stack; None where it was not fitted."""
        return _lattice(self.global_fit)

    def plane_level(self, section: int, plane: int) -> float:
        """Return what a plane's field has beside the lattices."""
        factor = 1.0 if self.match is None else self.match["factor"]
        return self.profile[plane] - math.log(factor * self.gains[section])

    def log_bias_field(
        self,
        shape: tuple[int, int, int],
        *,
        start: tuple[int, int, int] = (0, 0, 0),
        step: tuple[int, int, int] = (1, 1, 1),
    ) -> NDArray[np.float32]:
        """Evaluate the field on a block of voxels.

        Parameters
        ----------
        shape : tuple of int
            Samples of the block (Z, Y, X).
        start : tuple of int
            Voxel of the volume (z, y, x) that the block begins at.
        step : tuple of int
            Voxels from one sample to the next.

        Returns
        -------
        ndarray of float32, shape (Z, Y, X)
            Natural logarithm of the bias field. A voxel's value does not depend on the block it is asked in.
        """
        field = np.zeros(shape, np.float32)
        planes = start[0] + step[0] * np.arange(shape[0])
        indices = (np.searchsorted(self._section_starts, planes, side="right") - 1).tolist()
        parts = [(index, len(list(same))) for index, same in itertools.groupby(indices)]
        first = 0
        for (across, n_planes), same_grid in itertools.groupby(parts, self._across):
            thin = list(same_grid)
            last = first + n_planes * len(thin)
            if across is not None:
                at, out = (int(planes[first]), *start[1:]), field[first:last]
                lattices = [lattice for index, _ in thin if (lattice := self.section_lattice(index)) is not None]
                if n_planes == 1:
                    evaluate_thin(lattices, self.voxel_size_mm, start=at, step=step, out=out)
                else:
                    lattices[0].evaluate(out.shape, self.voxel_size_mm, start=at, step=step, out=out)
            first = last
        levels = [self.plane_level(index, z) for index, z in zip(indices, planes.tolist(), strict=True)]
        field += np.array(levels, np.float32)[:, None, None]
        if self.global_lattice is not None:
            field += self.global_lattice.evaluate(shape, self.voxel_size_mm, start=start, step=step)
        return field

    def _across(self, part: tuple[int, int]) -> tuple[object, int]:
        """Tell which of a section's planes can be evaluated together with others'."""
        index, n_planes = part
        lattice = self.section_lattice(index)
        return (None if lattice is None else lattice.across if n_planes == 1 else index), n_planes

    def digests(self) -> dict[str, str]:
        """Return a digest of each lattice (its geometry and control points), of gains, profile, sections and voxels."""
        lattices = [(f"bias/section {i}", self.section_lattice(i)) for i in range(len(self.sections))]
        lattices.append(("bias/global", self.global_lattice))
        found = {
            name: blake3(json.dumps(lattice.to_dict(), sort_keys=True).encode()).hexdigest()
            for name, lattice in lattices
            if lattice is not None
        }
        levels: dict[str, Any] = {
            "bias/gains": self.gains,
            "bias/profile": self.profile,
            "bias/geometry": [self.voxel_size_mm, self.sections],
        }
        if self.match is not None:
            levels["bias/match"] = self.match["factor"]
        return found | {name: blake3(json.dumps(values).encode()).hexdigest() for name, values in levels.items()}

    def save(self, folder: Path) -> None:
        """Write ``sections.json`` and ``global.json`` into a folder, which is made."""
        folder.mkdir(parents=True)
        sections = [
            {"index": i, "z_start": z_start, "z_stop": z_stop, "gain": gain, "fit": fit}
            for i, ((z_start, z_stop), gain, fit) in enumerate(
                zip(self.sections, self.gains, self.section_fits, strict=True)
            )
        ]
        stored = {"voxel_size_mm": list(self.voxel_size_mm), "sections": sections, "profile": list(self.profile)}
        write_json(folder / SECTIONS_FILE, stored)
        write_json(folder / GLOBAL_FILE, {"voxel_size_mm": list(self.voxel_size_mm), "fit": self.global_fit})

    @classmethod
    def load(cls, folder: str | Path, match: Path | None = None) -> BiasModel:
        """Read what :meth:`save` wrote, and how it was matched: from a file, or from the folder where it holds one."""
        match = match or Path(folder) / MATCH_FILE
        stored = read_json(Path(folder) / SECTIONS_FILE)
        sections = stored["sections"]
        z, y, x = stored["voxel_size_mm"]
        return cls(
            sections=tuple((s["z_start"], s["z_stop"]) for s in sections),
            voxel_size_mm=(z, y, x),
            section_fits=tuple(s["fit"] for s in sections),
            gains=tuple(s["gain"] for s in sections),
            global_fit=read_json(Path(folder) / GLOBAL_FILE)["fit"],
            profile=tuple(stored["profile"]),
            match=read_json(match) if match.exists() else None,
        )


def _lattice(fit: Mapping[str, Any] | None) -> Lattice | None:
    return None if fit is None else Lattice.from_dict(fit["lattice"])


def write_json(path: Path, content: Any) -> None:
    """Write JSON, keys sorted, a list of numbers on one line: equal content is equal bytes. NaN is refused."""
    path.write_text(_json_text(content, "\n") + "\n", encoding="utf-8")


def _json_text(content: Any, line: str) -> str:
    """Return JSON as ``json.dumps`` would with an indent of 1, but for lists of numbers, ten times faster.

    `line` begins a line that is indented as what stands around `content`.
    """
    deeper = line + " "
    if isinstance(content, dict) and content:
        if set(map(type, content.values())) <= _SCALARS:
            return "{" + deeper + _encode(content, "," + deeper)[1:-1] + line + "}"
        parts = [f"{_encode_text(key)}: {_json_text(value, deeper)}" for key, value in sorted(content.items())]
        return "{" + deeper + ("," + deeper).join(parts) + line + "}"
    if isinstance(content, list | tuple) and content:
        if set(map(type, content)) <= _NUMBERS:
            return f"[ {_encode(content)[1:-1]} ]"
        return "[" + deeper + ("," + deeper).join(_json_text(value, deeper) for value in content) + line + "]"
    return _encode_text(content) if type(content) is str else _encode(content)


@lru_cache(maxsize=4096)
def _encode_text(text: str) -> str:
    return _encode(text)


def _encode(content: Any, separator: str = ", ") -> str:
    return _encoder(separator).encode(content)


@cache
def _encoder(separator: str) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(separator, ": "))


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
