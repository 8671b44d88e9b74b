"""Settings reach a script as they stand in the plan, whatever characters they hold."""

import json
import os
import subprocess

import pytest

from linumpy.intensity.bias_model import read_json
from tests.pipeline.conftest import NEXTFLOW, REPOSITORY

pytestmark = pytest.mark.nextflow

WORKFLOW = """
include {{ REPORT }} from '{repository}/modules/report/main'

workflow {{
    def settings = new groovy.json.JsonSlurperClassic().parseText(file("${{projectDir}}/hostile.json").text)
    REPORT(channel.of(['a', settings] + (1..5).collect {{ n -> file("${{projectDir}}/any${{n}}") }}))
}}
"""
SCRIPT = """#!/bin/bash
set -e
mkdir -p results/a
cp settings.json results/a/metrics.json
touch results/a/report.html results/a/digests.tsv
"""
HOSTILE = {
    "quotes": 'it\'s "quoted"',
    "shell": "$(touch hit) `touch hit` ${HOME} $HOME \\$HOME ; touch hit #",
    "backslashes": "\\ \\\\ \\n \\u0041 end\\",
    "lines": "one\ntwo\r\n\tthree\n",
    "delimiter": "\nLINUMPY_SETTINGS\ntouch hit\n",
    "unicode": "Gehirn-Öse µm 脳 🧠 \u202e \x00\x1f",
    "html": "<script>alert(1)</script> & </script>",
    "groovy": "${settings} !{id} ''' \"\"\"",
    "numbers": [1, 1.0, 0.1, 1e-09, 1.7976931348623157e308, 5e-324, 2**40, -0.25],
    "others": [None, True, False, [], {}],
}


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_settings_reach_the_script_unchanged(tmp_path, parser):
    if not NEXTFLOW.exists():
        pytest.skip("no Nextflow here; `make setup` brings it")
    (tmp_path / "main.nf").write_text(WORKFLOW.format(repository=REPOSITORY))
    (tmp_path / "hostile.json").write_text(json.dumps(HOSTILE))
    for n in (1, 2, 3, 4, 5):
        (tmp_path / f"any{n}").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "report.py").write_text(SCRIPT)
    (tmp_path / "bin" / "report.py").chmod(0o755)
    done = subprocess.run(
        [NEXTFLOW, "run", "main.nf", "-ansi-log", "false"],
        cwd=tmp_path,
        env=os.environ | {"NXF_SYNTAX_PARSER": parser, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = tmp_path.glob("work/*/*/results/a/metrics.json")
    assert read_json(found) == HOSTILE
    assert not list(tmp_path.rglob("hit"))
