#!/usr/bin/env python3
"""Write docs/parameters.md from nextflow_schema.json (``--check``: fail where it is out of date)."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "parameters.md"
HEAD = """# Parameters

Given on the command line (`--shrink_factor 1,4,4`) or in a file (`-params-file settings.yaml`). An unknown name or a
refused value stops the run before it starts, with all faults at once. What was used stands in
`pipeline_info/parameters.json` and in every report. This page is written by `tools/parameters_page.py`.
"""


def page(schema: dict) -> str:
    parts = [HEAD]
    for group in schema["$defs"].values():
        parts.append(f"\n## {group['title']}\n\n| parameter | default | values | |\n|---|---|---|---|\n")
        required = group.get("required", [])
        for name, prop in group["properties"].items():
            default = "required" if name in required else _text(prop.get("default"))
            parts.append(f"| `{name}` | {default} | {_values(prop)} | {prop['description']} |\n")
    return "".join(parts)


def _text(value: object) -> str:
    if value is None:
        return "not given"
    return f"`{','.join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip(chr(34))}`"


def _values(prop: dict) -> str:
    if "enum" in prop:
        return ", ".join(f"`{value}`" for value in prop["enum"])
    kinds = prop["type"] if isinstance(prop["type"], list) else [prop["type"]]
    kind = next(k for k in kinds if k != "null")
    items = prop["items"] if kind == "array" else prop
    name = {"array": f"{items['type']}s", "string": "text"}.get(kind, kind)
    low = items.get("minimum", items.get("exclusiveMinimum"))
    sign = "≥" if "minimum" in items else ">"
    high = f", ≤ {items['maximum']}" if "maximum" in items else ""
    return name if low is None else f"{name} {sign} {low}{high}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = page(json.loads((ROOT / "nextflow_schema.json").read_text()))
    if parser.parse_args().check:
        return int(PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
