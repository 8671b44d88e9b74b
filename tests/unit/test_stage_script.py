"""How a task ends: the exit status by which the pipeline knows whether to try it again."""

import pytest

from linumpy.stage import script


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("no such level"), 1, "error: no such level"),
        (MemoryError("Unable to allocate 3.00 GiB"), 137, "error: out of memory: Unable to allocate 3.00 GiB"),
        (MemoryError(), 137, "error: out of memory"),
    ],
    ids=["a mistake", "short of memory", "short of memory, without a word"],
)
def test_the_exit_status_says_whether_to_try_again(capsys, error, status, said):
    def step() -> None:
        raise error

    assert script.run(step) == status
    assert capsys.readouterr().err.splitlines()[0] == said
