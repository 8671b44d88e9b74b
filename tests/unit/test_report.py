"""The report: complete, self-contained, the same bytes every time, whatever is missing from the metrics."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import jsonschema
import numpy as np
import pytest

from linumpy.qc import figures
from linumpy.qc.report import Picture, render_batch_report, render_report
from linumpy.simulate import simulate_acquisition
from tests.report_examples import example

SCHEMA = json.loads((Path(__file__).parents[2] / "assets" / "metrics_schema.json").read_text())
VOID = {"meta", "img", "input", "br", "rect", "line", "path"}


class Page(HTMLParser):
    """Collects what a page holds and fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.images += [attributes] if tag == "img" else []
        self.references += [v for k, v in attrs if k in ("src", "href") and v]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def demo():
    return example()


@pytest.fixture(scope="module")
def page(demo):
    return Page(render_report(*demo))


def special(name: str):
    """Acquisitions at the edges of what there can be."""
    if name == "one plane":
        return example(simulate_acquisition((1, 30, 40), sections=1))
    if name == "all empty":
        return example(simulate_acquisition((6, 30, 40), sections=2, empty_sections=(0, 1)), mode="per_section")
    if name == "many thin sections":
        tall = simulate_acquisition((180, 20, 24), sections=180, voxel_size_um=(100, 100, 100), empty_sections=(0, 9))
        return example(tall)
    if name == "unequal":
        return example(simulate_acquisition((9, 30, 40), sections=((0, 1), (1, 7), (7, 9))))
    return example(simulate_acquisition((8, 30, 40), sections=2), mode="global")


SPECIAL = ["one plane", "all empty", "many thin sections", "unequal", "global only"]


@pytest.mark.parametrize("name", SPECIAL)
def test_every_kind_of_acquisition_has_a_report(name):
    metrics, pictures = special(name)
    jsonschema.validate(metrics, SCHEMA)
    page = Page(render_report(metrics, pictures))
    assert page.tags.count("tr") >= len(metrics["sections"])
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


def test_schema_refuses_what_is_missing_or_misspelt(demo):
    metrics, _ = demo
    jsonschema.validate(metrics, SCHEMA)
    without = {k: v for k, v in metrics.items() if k != "summary"}
    with pytest.raises(jsonschema.ValidationError, match="summary"):
        jsonschema.validate(without, SCHEMA)
    with pytest.raises(jsonschema.ValidationError, match="twopass"):
        jsonschema.validate(metrics | {"mode": "twopass"}, SCHEMA)


def test_a_missing_metric_is_an_error_not_a_gap(demo):
    metrics, pictures = demo
    with pytest.raises(jinja2.UndefinedError, match="missing_chunks"):
        render_report({k: v for k, v in metrics.items() if k != "missing_chunks"}, pictures)


def test_page_needs_nothing_from_outside(page, demo):
    html = render_report(*demo)
    assert all(r.startswith(("data:image/png;base64,", "#")) for r in page.references)
    assert not re.search(r"https?://|@import|url\(", html)
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_same_bytes_every_time(demo):
    assert render_report(*demo) == render_report(*example())


def test_every_picture_has_an_alternative_text(page):
    shown = [image for image in page.images if "src" in image]
    assert len(shown) == 9
    assert all(image["alt"] for image in shown)
    assert len({image["alt"] for image in shown}) == 9


def test_warnings_come_before_anything_else(demo):
    metrics, pictures = demo
    warnings = [{"code": "mask-leak", "message": f"agarose in the mask {i}", "section": i} for i in range(3)]
    html = render_report(metrics | {"warnings": warnings}, pictures)
    assert html.index("agarose in the mask 0") < html.index('class="tiles"') < html.index("<img")
    assert "and 2 more of this kind" in html
    assert html.count('class="flagged"') == 3
    assert "No warnings" in render_report(*demo)


def test_text_from_outside_is_escaped(demo):
    metrics, pictures = demo
    bad = "<script>alert(1)</script>"
    html = render_report(metrics | {"warnings": [{"code": "x", "message": bad, "section": None}]}, pictures)
    assert bad not in html
    assert "&lt;script&gt;" in html


def test_names_turn_nothing_around_and_lead_nowhere_else(demo):
    metrics, pictures = demo
    image = metrics["image"] | {"name": "\x1b[2J\u2066"}
    named = metrics | {"acquisition": "javascript:alert(1)//\u202egpj", "image": image}
    page = render_report(named, pictures)
    assert "javascript:alert(1)//\\u202egpj" in page
    assert "\\x1b[2J\\u2066" in page
    batch = render_batch_report([named], unfinished=["\u202e<blink>"])
    assert 'href="javascript%3Aalert%281%29%2F%2F%E2%80%AEgpj/report.html"' in batch
    assert "\\u202e&lt;blink&gt;" in batch
    for html in (page, batch):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
        assert "<blink>" not in html


def test_table_holds_the_numbers(page, demo):
    section = demo[0]["sections"][1]
    assert f"{section['step_before']:.3f} →" in page.text
    assert f"{100 * section['cv_after']:.1f} %" in page.text
    assert "12–23" in page.text
    assert "5 serial sections of 12 planes each" in page.text
    assert "60\u00a0×\u00a070\u00a0×\u00a081 voxels" in page.text


@pytest.mark.parametrize(
    ("parameters", "said", "not_said"),
    [
        ({"output_dtype": "float32"}, "Nothing else was changed.", "rounded"),
        ({"output_dtype": "input"}, "The result was rounded and clipped to uint16.", "Nothing else"),
        ({"output_dtype": "input", "zero_outside_mask": True}, "set to 0. The result was rounded", "Nothing else"),
    ],
)
def test_what_was_done_to_the_voxels_is_said(demo, parameters, said, not_said):
    metrics, pictures = demo
    of_integers = metrics | {"image": metrics["image"] | {"dtype": "uint16"}}
    text = " ".join(Page(render_report(of_integers | {"parameters": parameters}, pictures)).text.split())
    assert said in text
    assert not_said not in text


def test_an_empty_section_is_not_said_to_keep_its_voxels():
    # The field of the whole stack is divided out of it, too.
    text = Page(render_report(*special("many thin sections"))).text
    assert "no tissue, not fitted" in text
    assert "left as" not in text


def test_before_and_after_share_one_scale():
    ramp = np.linspace(0, 100, 64, dtype=np.float32).reshape(8, 8)
    picture = Picture(ramp, np.ones_like(ramp), 0.5 * ramp, (0.1, 0.1), "yx", "z = 0")
    images = [i for i in Page(render_report(example()[0], {"xy": picture})).images if "src" in i]
    before, field, after = (decode(image["src"]) for image in images)
    np.testing.assert_allclose(
        after.astype(int), before / 2, atol=1.01
    )  # rounding to 8 bits, twice; the top is clipped
    assert len(np.unique(field)) == 1


def decode(uri: str) -> np.ndarray:
    """Read back the palette indices of one of our PNG files."""
    data = base64.b64decode(uri.split(",", 1)[1])
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    size = struct.unpack(">I", data[start - 8 : start - 4])[0]
    lines = np.frombuffer(zlib.decompress(data[start : start + size]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_png_maps_values_to_the_palette_and_survives_nan():
    image = np.array([[0.0, 5.0, 10.0], [-3.0, np.nan, 99.0]], np.float32)
    indices = decode(figures.to_data_uri(image, 0.0, 10.0, figures.grey_palette()))
    np.testing.assert_array_equal(indices, [[0, 128, 255], [0, 0, 255]])


def test_large_pictures_are_averaged_down():
    image = np.tile(np.array([0.0, 10.0], np.float32), (30, 1000))
    indices = decode(figures.to_data_uri(image, 0.0, 10.0, figures.grey_palette()))
    assert indices.shape == (30, 666)  # 2000 columns: blocks of three, two left over
    assert 80 < indices.min() < indices.max() < 175


@pytest.mark.parametrize(("width_mm", "label"), [(6.8, "2 mm"), (1.33, "200 µm"), (100.0, "20 mm"), (3.4, "1 mm")])
def test_scale_bar_is_a_round_length_of_the_right_share(width_mm, label):
    percent, text = figures.scale_bar(width_mm)
    assert text == label
    number, unit = text.split()
    assert percent * width_mm / 100 == pytest.approx(float(number) * (1 if unit == "mm" else 1e-3), rel=1e-2)


def test_nice_ticks_are_round_and_inside():
    assert figures.nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert figures.nice_ticks(-0.31, 0.31, 4) == [-0.2, 0, 0.2]


def test_profile_is_broken_where_there_is_no_tissue():
    chart = figures.profile_chart([1.0, None, 2.0, 3.0], [None] * 4, [2])
    (_, before), (_, after) = chart.curves
    assert before.count("M") == 2
    assert after == ""
    assert figures.profile_chart([None, None], [None, None], [1]) is None


def along_z(n_planes: int, **changes):
    measured = {
        "levels": [0.1] * n_planes,
        "errors": [0.02] * n_planes,
        "kept": [0.0] * n_planes,
        "tissue": [900] * n_planes,
        "odd_planes": [],
    }
    return measured | changes


def test_the_band_along_z_is_two_errors_to_each_side_and_broken_where_nothing_was_measured():
    level, tissue = figures.along_z_charts(along_z(5, errors=[0.02, 0.02, None, 0.02, 0.04], odd_planes=[3]), [2])
    ((name, band),) = level.areas
    assert (name, band.count("M")) == ("spread", 2)
    points = [tuple(float(v) for v in point.split()) for point in re.findall(r"[\d.]+ [\d.]+", band)]
    ticks = {float(label.replace("−", "-").rstrip(" %")): y for y, label in level.y_ticks}
    (low, y_low), (high, y_high) = min(ticks.items()), max(ticks.items())
    found = {round(low + (y - y_low) * (high - low) / (y_high - y_low), 1) for _, y in points}
    expected = sorted({round(100 * np.expm1(0.1 + side * error), 1) for side in (-2, 2) for error in (0.02, 0.04)})
    np.testing.assert_allclose(sorted(found), expected, atol=0.11)
    assert [text for _, _, _, text in level.dots] == ["plane 3: +10.5 %, badly taken"]
    assert tissue.areas[0][0] == "support"


def test_charts_along_z_of_very_many_planes_are_thinned():
    n = 20_000
    noisy = np.random.default_rng(0).normal(0, 0.1, n).tolist()
    charts = figures.along_z_charts(along_z(n, levels=noisy, odd_planes=list(range(n))), [])
    drawn = [path for chart in charts for _, path in (*chart.areas, *chart.curves)]
    assert max(path.count("L") for path in drawn) <= 2 * figures.MAX_POINTS
    assert len(charts[0].dots) <= figures.MAX_POINTS


def test_depth_profiles_of_the_sections_stand_beside_the_common_one():
    measured = along_z(6, levels=[0.3, 0.2, 0.1, 0.5, 0.3, 0.1], profile=[0.15, 0.0, -0.15])
    chart = figures.depth_chart(measured, [(0, 3), (3, 6)])
    (own_name, own), (_, common) = chart.curves
    assert (own_name, own.count("M"), common.count("M")) == ("own", 2, 1)
    # The mean of the two sections' profiles is the common one, at each depth.
    heights = [[float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)] for path in (own, common)]
    np.testing.assert_allclose(np.reshape(heights[0], (2, 3)).mean(axis=0), heights[1], atol=2.0)
    blank = along_z(6, levels=[0.3, 0.2, 0.1, 0.0, 0.0, 0.0], profile=[0.1, 0.0, -0.1], errors=[0.02] * 3 + [None] * 3)
    assert figures.depth_chart(blank, [(0, 3), (3, 6)]).curves[0][1].count("M") == 1
    assert figures.depth_chart(along_z(6, profile=[0.0]), [(z, z + 1) for z in range(6)]) is None


def test_nothing_measured_along_z_is_no_chart():
    assert figures.along_z_charts(along_z(4, errors=[None] * 4), []) == []
    assert figures.along_z_charts(along_z(1), []) == []


def test_the_level_along_z_is_told_with_its_error(demo, page):
    metrics, _ = demo
    assert metrics["along_z"]["verdict"] in page.text
    assert "Circles mark planes that were badly taken." in page.text
    assert f"±{100 * metrics['sections'][1]['gain_error']:.1f} %" in page.text
    assert "Brightness along Z" not in Page(render_report(*special("global only"))).text


def test_the_worst_stands_beside_the_median(demo, page):
    worst = demo[0]["summary"]["step_worst_after"]
    assert f"at worst {100 * worst['value']:.1f} % is left, after section {worst['section']}" in page.text
    jump = demo[0]["summary"]["jump_worst_after"]
    assert f"at worst {100 * jump['value']:.1f} % is left, at plane {jump['plane']}" in page.text
    batch = Page(render_batch_report([demo[0]])).text
    assert f"worst {100 * worst['value']:.1f} %, section {worst['section']}" in batch


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"depth_profile": True, "harmonise": "gain"}, ("What the planes of a section differ by", "one gain")),
        ({"depth_profile": True, "harmonise": "none"}, ("What the planes of a section differ by",)),
        ({"depth_profile": False, "harmonise": "gain"}, ("one gain",)),
        ({"depth_profile": False, "harmonise": "none"}, ()),
    ],
)
def test_what_was_done_along_z_is_said(demo, parameters, said):
    text = Page(render_report(demo[0] | {"parameters": parameters}, {})).text
    sentences = ("What the planes of a section differ by", "one gain")
    assert tuple(sentence for sentence in sentences if sentence in text) == said


def test_pictures_must_match():
    plane = np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match="one shape"):
        Picture(plane, plane[:2], plane, (1, 1), "yx", "z = 0")
    with pytest.raises(ValueError, match="axes is 'xy'"):
        Picture(plane, plane, plane, (1, 1), "xy", "z = 0")


def test_batch_report_is_sorted_linked_and_warns_first(demo):
    metrics, _ = demo
    warned = metrics | {
        "acquisition": "a-first",
        "warnings": [{"code": "missing-chunks", "message": "3 chunks are missing", "section": None}],
    }
    html = render_batch_report([metrics, warned])
    page = Page(html)
    assert [r for r in page.references if r.endswith(".html")] == [
        "a-first/report.html", "a-first/report.html", "brain-07/report.html",
    ]  # fmt: skip
    assert html.index("3 chunks are missing") < html.index("<table")
    assert "2 acquisitions were corrected; 1 of them carries warnings" in page.text
    assert render_batch_report([warned, metrics]) == html
    elsewhere = render_batch_report([metrics], links={"brain-07": "x.html"})
    assert "x.html" in Page(elsewhere).references
