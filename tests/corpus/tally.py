"""How many inputs of each area had which kind of outcome, for the table at the end of a run."""

from collections import Counter

COUNTS: Counter[tuple[str, str]] = Counter()
KINDS = ("refused", "warned of", "accepted")


def lines() -> list[str]:
    """Return the table, one area a line."""
    areas = dict.fromkeys(area for area, _ in COUNTS)
    rows = [(area, *(COUNTS[area, kind] for kind in KINDS)) for area in areas]
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, len(KINDS) + 1))))
    return [f"{area:24}" + "".join(f"{n!s:>11}" for n in numbers) for area, *numbers in [("area", *KINDS), *rows]]
