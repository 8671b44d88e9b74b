"""The table at the end of a run."""

from tests.corpus import tally


def pytest_terminal_summary(terminalreporter):
    """Print the counts where there are any."""
    if tally.COUNTS:
        terminalreporter.section("corpus of bad input")
        terminalreporter.write_line("\n".join(tally.lines()))
