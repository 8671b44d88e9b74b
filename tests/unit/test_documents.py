"""What the documents and the configuration say twice must agree."""

import json
import re
import subprocess
import sys

import linumpy
from linumpy.plan.parameters import properties_of, resolve_parameters


def test_the_parameters_page_is_the_schema(repository):
    subprocess.run([sys.executable, repository / "tools" / "parameters_page.py", "--check"], check=True)


def test_defaults_of_schema_and_configuration_agree(repository):
    schema = json.loads((repository / "nextflow_schema.json").read_text())
    block = re.search(r"^params \{\n(.*?)^\}", (repository / "nextflow.config").read_text(), re.M | re.S).group(1)
    configured = dict(re.findall(r"^\s+(\w+)\s*=\s*(.*)$", block, re.M))
    assert set(configured) == set(properties_of(schema)) - {"outdir"}  # has no default to give
    given = {name: None if value == "null" else value.strip("'") for name, value in configured.items()}
    given |= {"input": "-", "outdir": "-"}
    assert resolve_parameters(given, schema) == resolve_parameters({"input": "-", "outdir": "-"}, schema)


def test_the_version_stands_the_same_everywhere(repository):
    for name in ("nextflow.config", "conf/base.config", "conf/gpu.config"):
        text = (repository / name).read_text()
        found = re.findall(r"(?:^\s*version\s*=\s*'|linumpy-n4:)([0-9][0-9.]*[0-9])", text, re.M)
        assert found == [linumpy.__version__] * len(found), name
        assert found, name


def test_links_between_documents_lead_somewhere(repository):
    for page in [repository / "README.md", *sorted((repository / "docs").glob("*.md"))]:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
