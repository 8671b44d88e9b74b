"""Text from outside: what a terminal, a log or a page is given of it."""

import logging

import pytest

from linumpy.stage.script import run
from linumpy.io.errors import OmeZarrError
from linumpy.plan.errors import InputError
from linumpy.printable import printable, printable_lines

HOSTILE = "a\nerror: 0 faults\r\x1b[2J\x9b31m\u202egpj\u2066\u200f\u2028\ufeff\x00\x7f\ud800"
SHOWN = r"a\nerror: 0 faults\r\x1b[2J\x9b31m\u202egpj\u2066\u200f\u2028\ufeff\x00\x7f\ud800"


def test_what_is_not_shown_is_written_as_an_escape():
    assert printable(HOSTILE) == SHOWN
    assert printable(printable(HOSTILE)) == SHOWN


@pytest.mark.parametrize("text", ["", "dapi", "10 µm × 3", "1\u202f000", "a\u00a0b", "脳 01", "می\u200cخواهم", "عربي"])
def test_words_of_any_script_stay(text):
    assert printable(text) == text


def test_lines_stay_lines():
    assert printable_lines("2 faults:\n  - a\x1b[0m") == "2 faults:\n  - a\\x1b[0m"


def test_a_fault_is_one_line():
    assert str(OmeZarrError("/data/a", f"channel {HOSTILE}")) == f"/data/a: channel {SHOWN}"
    assert str(InputError([HOSTILE, "b"])) == f"2 faults in the input:\n  - {SHOWN}\n  - b"


def test_what_a_task_says(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def step():
        logging.getLogger("linumpy").warning("name %s", HOSTILE)
        raise ValueError(f"two faults:\n{HOSTILE[17:]}")

    assert run(step) == 1
    said = capsys.readouterr().err
    assert f"WARNING linumpy: name {SHOWN}\n" in said
    assert "error: two faults:\n" + SHOWN[18:] in said
    assert printable_lines(said) == said
