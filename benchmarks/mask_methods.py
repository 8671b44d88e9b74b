"""What each mask method misses and lets in, on real acquisitions and on phantoms with known tissue.

Usage: .venv/bin/python benchmarks/mask_methods.py [--data ../shared/data]

Prints a Markdown table: percent of the tissue missed / background taken in, as percent of the tissue; then
the sections that borrowed their threshold and the warnings of the last method. Tissue in the cortex volume
is where the median over Z exceeds 91, in the hemisphere where the 3x3 median exceeds 1000 (agarose lies at
80, tissue at 12000).
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import zarr
from scipy import ndimage

from linumpy.intensity.mask_threshold import METHODS
from linumpy.intensity.sections import section_bounds
from linumpy.intensity.tissue_mask import mask_warnings, stream_tissue_mask

DEPTH, SECTIONS, PLANE = 6, 6, (180, 210)
KINDS = (
    "plain",
    "tissue leaves the field",
    "one section all tissue",
    "all sections all tissue",
    "two sections without tissue",
    "first two sections without tissue",
    "low contrast (2.5)",
    "little tissue (2 %)",
    "mostly tissue",
    "bright cells (15x)",
    "bright cells (60x)",
    "camera offset",
    "unmeasured zeros around",
    "one-plane sections",
    "oblique sections",
)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    print("| acquisition |", " | ".join(METHODS), "| sections that borrow | warnings |")
    print("|---" * (len(METHODS) + 3) + "|")
    for name, vol, tissue, n_sections in acquisitions(args.data):
        cells = []
        for method in METHODS:
            mask, found = run(vol, n_sections, method)
            missed, let_in = np.count_nonzero(tissue & ~mask), np.count_nonzero(mask & ~tissue)
            cells.append(f"{100 * missed / tissue.sum():.1f} / {100 * let_in / tissue.sum():.1f}")
        borrowing = sum(section.borrowed_from is not None for section in found)
        codes = Counter(warning["code"] for warning in mask_warnings(found))
        notes = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
        print(f"| {name} | {' | '.join(cells)} | {borrowing} of {n_sections} | {notes} |", flush=True)


def run(vol, n_sections, method):
    """Mask of a volume and what was found out about its sections."""
    found = []
    blocks = stream_tissue_mask(
        lambda z0, z1: vol[z0:z1],
        vol.shape,
        section_bounds(len(vol), n_sections),
        method=method,
        on_section=found.append,
    )
    return np.concatenate([block for _, block in blocks]), found


def acquisitions(data):
    """Yield name, volume, tissue and number of sections."""
    if data.is_dir():
        cortex = zarr.open_group(data / "cortex_3sections.ome.zarr", mode="r")["0"][:]
        yield "cortex_3sections", cortex, np.broadcast_to(np.median(cortex, 0) > 91, cortex.shape), 3
        hemisphere = zarr.open_group(data / "hemisphere_176sections.ome.zarr", mode="r")["0"][:]
        yield "hemisphere_176sections", hemisphere, ndimage.median_filter(hemisphere, (1, 3, 3)) > 1000, 176
    for kind in KINDS:
        yield kind, *phantom(kind)


def blob(shape, seed, centre=(0.55, 0.45), radius=(0.33, 0.36), drift=0.6):
    """Wavy ellipse whose centre drifts with Z."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    dy = (y - centre[0] * shape[1] - drift * z) / (radius[0] * shape[1])
    dx = (x - centre[1] * shape[2] - drift * z) / (radius[1] * shape[2])
    angle = np.arctan2(dy, dx)
    return np.hypot(dy, dx) < 1 + 0.12 * np.sin(3 * angle + seed) + 0.07 * np.sin(7 * angle + 2 * seed)


def phantom(kind, seed=0):
    """Speckled tissue in agarose: attenuation with depth, illumination across XY, a gain per section."""
    rng = np.random.default_rng(seed)
    shape = (SECTIONS * DEPTH, *PLANE)
    outlines = {
        "tissue leaves the field": {"centre": (0.2, 0.95), "radius": (0.6, 0.7)},
        "little tissue (2 %)": {"radius": (0.07, 0.08), "drift": 0.2},
        "mostly tissue": {"centre": (0.5, 0.45), "radius": (0.6, 0.6), "drift": 0},
        "oblique sections": {"drift": 2.5, "centre": (0.3, 0.3)},
    }
    tissue = blob(shape, seed, **outlines.get(kind, {}))
    section = np.arange(shape[0]) // DEPTH
    if kind == "one section all tissue":
        tissue[section == 2] = True
    if kind == "all sections all tissue":
        tissue[:] = True
    if kind == "two sections without tissue":
        tissue[(section == 2) | (section == SECTIONS - 1)] = False
    if kind == "first two sections without tissue":
        tissue[section < 2] = False
    level = {"low contrast (2.5)": 75.0, "bright cells (15x)": 90.0}.get(kind, 200.0)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), (2, 12, 12))
    texture = np.exp(0.35 * texture / texture.std()) * np.where(blob(shape, seed + 3, radius=(0.15, 0.2)), 1.7, 1)
    vol = np.where(tissue, level * texture, 30.0)
    looks = 4
    if kind.startswith("bright cells"):
        cells = ndimage.gaussian_filter(1.0 * ((rng.random(shape) < 0.004) & tissue), (0.7, 1.6, 1.6))
        cells[:, :, : PLANE[1] // 4] = 0
        vol += cells / cells.max() * level * (15 if "15x" in kind else 60)
        looks = 16
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    illumination = np.exp(0.4 * np.cos(2.5 * (x / PLANE[1] - 0.4)) + 0.25 * np.cos(2 * y / PLANE[0])) / 1.5
    gain = np.exp(rng.normal(0, 0.15, SECTIONS))[section] * np.exp(-0.5 * (np.arange(shape[0]) % DEPTH) / DEPTH)
    vol *= illumination * gain[:, None, None] * rng.gamma(looks, 1 / looks, shape)
    if kind == "camera offset":
        vol = 0.25 * vol + 110 + rng.normal(0, 3, shape)
    if kind == "unmeasured zeros around":
        measured = (x >= 30) & (y >= 25)
        vol, tissue = vol * measured, tissue & measured
    n_sections = shape[0] if kind == "one-plane sections" else SECTIONS
    return np.clip(np.round(vol), 0, 65535).astype(np.uint16), tissue, n_sections


if __name__ == "__main__":
    main()
