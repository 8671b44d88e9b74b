"""Lengths of NGFF in millimetres.

A conversion is one multiplication or division by an exact power of ten, so that 5 "micrometer", 5000
"nanometer" and a voxel size of 5 um given by hand are the same number of millimetres, bit for bit.
"""

from __future__ import annotations

__all__ = ["canonical_unit", "to_mm"]

_POWER_OF_TEN = {  # of a millimetre
    "angstrom": -7,
    "attometer": -15,
    "centimeter": 1,
    "decimeter": 2,
    "exameter": 21,
    "femtometer": -12,
    "gigameter": 12,
    "hectometer": 5,
    "kilometer": 6,
    "megameter": 9,
    "meter": 3,
    "micrometer": -3,
    "millimeter": 0,
    "nanometer": -6,
    "petameter": 18,
    "picometer": -9,
    "terameter": 15,
    "yoctometer": -21,
    "yottameter": 27,
    "zeptometer": -18,
    "zettameter": 24,
}
_OTHER_MM = {
    "foot": 304.8,
    "inch": 25.4,
    "mile": 1609344.0,
    "parsec": 3.0856775814913673e19,
    "yard": 914.4,
}
_ALIASES = {  # not NGFF, but written by some programs and not to be mistaken
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "nm": "nanometer",
    "nanometre": "nanometer",
}


def canonical_unit(unit: str) -> str | None:
    """Return the NGFF name of a unit of length, None if it is not one.

    Examples
    --------
    >>> canonical_unit("um"), canonical_unit("millimeter"), canonical_unit("pixel")
    ('micrometer', 'millimeter', None)
    """
    name = unit.strip()
    name = name if name in _ALIASES else name.lower()
    name = _ALIASES.get(name, name)
    return name if name in _POWER_OF_TEN or name in _OTHER_MM else None


def to_mm(value: float, unit: str) -> float:
    """Convert a length in an NGFF unit to millimetres.

    Parameters
    ----------
    value : float
        Length in `unit`.
    unit : str
        NGFF name, as `canonical_unit` returns it.

    Returns
    -------
    float
        Length in millimetres.

    Examples
    --------
    >>> to_mm(5.0, "micrometer"), to_mm(2.0, "centimeter")
    (0.005, 20.0)
    """
    if unit in _OTHER_MM:
        return value * _OTHER_MM[unit]
    power = _POWER_OF_TEN[unit]
    return value * 10.0**power if power >= 0 else value / 10.0**-power
