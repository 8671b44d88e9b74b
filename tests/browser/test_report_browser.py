"""The pages in a real browser: every picture decodes, no script throws, nothing is asked from outside.

A probe is written into the head of a page before Chromium opens it. It gathers errors of scripts and
resources and breaches of the content policy, works the controls once, and leaves what it found in the
document, which Chromium prints. The last tests break a page on purpose: the probe must notice.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from linumpy.qc.report import render_batch_report, render_report
from linumpy.simulate import simulate_acquisition
from tests.report_examples import example

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """<script>
(() => {
  const problems = [];
  addEventListener("error", (e) => problems.push(e.message || "cannot load " + e.target.tagName), true);
  addEventListener("unhandledrejection", (e) => problems.push("rejected: " + e.reason));
  addEventListener("securitypolicyviolation", (e) => problems.push("blocked: " + e.blockedURI));
  const complain = console.error;
  console.error = (...words) => { problems.push("console: " + words.join(" ")); complain(...words); };
  addEventListener("load", async () => {
    const found = {};
    const compare = document.querySelector(".compare");
    const whole = (image) => {  // what cannot be decoded stays transparent
      if (!image.naturalWidth) return false;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.every((value, i) => i % 4 < 3 || value === 255);
    };
    const visible = (element) => element.getBoundingClientRect().height > 0;
    if (compare) {
      const slider = document.querySelector(".slider");
      slider.value = 20;
      slider.dispatchEvent(new Event("input"));
      found.split = compare.style.getPropertyValue("--split");
      found.tabs = [];
      for (const tab of document.querySelectorAll(".tabs button")) {
        tab.click();
        const [is, was] = ["is", "was"].map((name) => compare.querySelector("." + name));
        const view = document.getElementById(tab.dataset.view);
        const shot = (name) => view.querySelector("img." + name).src;
        found.tabs.push(is.src === shot("after") && was.src === shot("before") && visible(is)
          && tab.getAttribute("aria-pressed") === "true");
      }
    }
    const filter = document.getElementById("only-flagged");
    const rows = () => [...document.querySelectorAll("table.filtered tbody tr")].filter(visible).length;
    found.rows = [rows()];
    filter.click();
    found.rows.push(rows());
    filter.click();
    found.rows.push(rows());
    for (let i = 0; i < 50 && ![...document.images].every((image) => image.complete); i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    for (const image of document.images)
      if (!visible(image) || !whole(image)) problems.push("broken image: " + image.alt);
    found.images = document.images.length;
    found.charts = [...document.querySelectorAll("svg.chart")].filter(visible).length;
    found.beyond = document.documentElement.scrollWidth - innerWidth;
    found.problems = problems;
    document.documentElement.dataset.probe = JSON.stringify(found);
  });
})();
</script>"""


@pytest.fixture
def probe(tmp_path: Path):
    """Return a function that opens a page and returns what the probe found."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; install Debian's package chromium")

    def open_page(html: str, *, width: int = 1280) -> dict:
        page = tmp_path / "page.html"
        page.write_text(html.replace("<head>", "<head>" + PROBE, 1), encoding="utf-8")
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
            "--virtual-time-budget=10000", "--dump-dom", page.as_uri(),
        ]  # fmt: skip
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        left = re.search(r'data-probe="([^"]*)"', dom)
        assert left, "the probe did not finish"
        return json.loads(unescape(left[1]))

    return open_page


@pytest.fixture(scope="module")
def html() -> str:
    metrics, pictures = example()
    warnings = [{"code": "mask-leak", "message": "agarose in the mask", "section": 1}]
    return render_report(metrics | {"warnings": warnings}, pictures)


def test_report_works(probe, html):
    found = probe(html)
    assert found["problems"] == []
    assert found["images"] == 9 + 2  # three views of three, and the comparison's two
    assert found["charts"] == 5  # before and after, steps; level along Z, its tissue, depth profiles
    assert found["split"] == "20%"
    assert found["tabs"] == [True, True, True]
    assert found["rows"] == [5, 1, 5]
    assert found["beyond"] <= 0  # nothing sticks out to the right


def test_report_fits_a_narrow_window(probe, html):
    found = probe(html, width=500)  # Chromium's headless windows are no narrower
    assert found["problems"] == []
    assert found["beyond"] <= 0


def test_report_of_many_sections_some_empty(probe):
    acquisition = simulate_acquisition((180, 20, 24), sections=180, empty_sections=(0, 9, -1))
    found = probe(render_report(*example(acquisition)))
    assert found["problems"] == []
    assert found["rows"][0] == 180
    assert found["rows"][1] >= 3


def test_report_without_slices(probe):
    metrics, _ = example(simulate_acquisition((1, 20, 24), sections=1))
    found = probe(render_report(metrics, {}))
    assert found["problems"] == []
    assert found["images"] == found["charts"] == 0


def test_batch_report_works(probe):
    metrics = [example(name=f"brain-{i}")[0] for i in range(3)]
    metrics[1]["warnings"] = [{"code": "missing-chunks", "message": "3 chunks are missing", "section": None}]
    found = probe(render_batch_report(metrics))
    assert found["problems"] == []
    assert found["rows"] == [3, 1, 3]


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ('base64,iVBORw0KGgo', 'base64,iVBORw0KGgX', "broken image"),
        ('"use strict";', '"use strict"; throw new Error("on purpose");', "on purpose"),
        ("<main>", '<main><img alt="elsewhere" src="other.png">', "blocked"),
    ],
)  # fmt: skip
def test_the_probe_notices(probe, html, good, bad, problem):
    assert good in html
    found = probe(html.replace(good, bad, 1))
    assert any(problem in line for line in found["problems"]), found["problems"]
