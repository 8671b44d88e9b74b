#!/usr/bin/env python3
"""Draw docs/images/demo.svg, the README's picture, from the demo's results.

python tools/readme_figure.py [build/demo/input/serial_oct.ome.zarr build/demo/results/serial_oct]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.io.ome_zarr import open_image
from linumpy.qc.figures import field_palette, grey_palette, to_data_uri

ROOT = Path(__file__).resolve().parent.parent
WIDTH, GAP, LABEL, PROFILE = 380, 14, 24, 170
STYLE = """
text{font:14px system-ui,sans-serif;fill:#444}.before{stroke:#b94f19}.after{stroke:#0f6a8d}
path{fill:none;stroke-width:1.8}.cut{stroke:#bbb;stroke-dasharray:2 4}rect{fill:#fff}
"""


def draw(image_path: Path, results: Path) -> str:
    image, corrected = open_image(image_path), open_image(results / "corrected.ome.zarr")
    bias = BiasModel.load(results / "bias")
    planes, rows, columns = image.shape
    middle = slice(rows // 2 - 2, rows // 2 + 2)  # four rows averaged: less speckle
    before, after = (volume.read(0, planes, y=middle).mean(axis=1, dtype=np.float64) for volume in (image, corrected))
    field = bias.log_bias_field((planes, 1, columns), start=(0, rows // 2, 0))[:, 0]
    white = float(np.percentile(after, 99.7))
    limit = float(np.abs(field - np.median(field)).max())
    panels = [
        ("before", before, (0.0, white), grey_palette()),
        ("field", field - np.median(field), (-limit, limit), field_palette()),
        ("after", after, (0.0, white), grey_palette()),
    ]
    height = round(WIDTH * planes * image.voxel_size_mm[0] / (columns * image.voxel_size_mm[2]) * 2)
    parts = []
    for i, (label, pixels, (low, high), palette) in enumerate(panels):
        x = i * (WIDTH + GAP)
        uri = to_data_uri(pixels, low, high, palette)
        parts.append(f'<text x="{x}" y="16">{label}</text>')
        parts.append(
            f'<image x="{x}" y="{LABEL}" width="{WIDTH}" height="{height}" preserveAspectRatio="none" href="{uri}"/>'
        )
    metrics = read_json(results / "metrics.json")
    top = LABEL + height + 30
    total = 3 * WIDTH + 2 * GAP
    parts.append(f'<text x="0" y="{top - 8}">median of tissue along Z, before and after</text>')
    cuts = [section["z_start"] for section in metrics["sections"][1:]]
    curves = {name: metrics["planes"][f"median_{name}"] for name in ("before", "after")}
    known = [value for curve in curves.values() for value in curve if value is not None]
    low, high = min(known), max(known)
    parts += [f'<path class="cut" d="M{total * (cut - 0.5) / (planes - 1):.1f} {top}v{PROFILE}"/>' for cut in cuts]
    for name, curve in curves.items():
        points = [
            f"{total * z / (planes - 1):.1f} {top + PROFILE * (high - value) / (high - low):.1f}"
            for z, value in enumerate(curve)
            if value is not None
        ]
        parts.append(f'<path class="{name}" d="M{"L".join(points)}"/>')
    size = f'width="{total}" height="{top + PROFILE + 4}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {total} {top + PROFILE + 4}">\n'
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%"/>\n{body}\n</svg>\n'
    )


def main() -> int:
    demo = ROOT / "build" / "demo"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", default=demo / "input" / "serial_oct.ome.zarr")
    parser.add_argument("results", type=Path, nargs="?", default=demo / "results" / "serial_oct")
    args = parser.parse_args()
    picture = ROOT / "docs" / "images" / "demo.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(draw(args.image, args.results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
