"""Faults at random: the stage is disturbed again and again, resumed until it is done, and compared with a quiet run.

    python -m tests.soak --injections 200 --seed 0

Each round runs the chain on two small acquisitions in a file system of its own. At random moments a random fault is
injected; a run that ends without success is resumed, as a user would. A round is over when a run ends well: then every
file of the results must be that of the quiet run. The seed chooses faults and moments; what runs at a moment is up to
the machine. The closing table is printed, with the tasks that ended well and were run again; the exit status is 1 where
anything was lost or different, part of a result was seen, or a head job did not end. After SIGTERM no more faults are
injected: the round is finished and the table printed.

Moments are told by the CPU time of the run: then a busy machine has no fewer faults a round than an idle one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from linumpy.stage.verify import verify_acquisition
from tests.acquisitions import write_ome_zarr, write_samplesheet
from tests.cluster.stage import OF_THE_BATCH, TASK_NAME, Stage, send
from tests.pipeline.conftest import copy_pipeline

ACQUISITIONS = ("left", "right")
DISK_MB = 64
SHARE = 0.4
"""Longest way to the next fault, as a share of the quiet run's CPU time."""
LONGEST_FULL = 20.0
"""Seconds after which a full disk is freed, at the latest."""
MOST_RUNS = 60
"""A round that is not done by then is lost. Its faults end with those asked for, so that it can be done."""
SILENT = 120.0
"""Seconds without a word in its log after which a head job hangs. It notes every task that begins or ends."""
ENDLESS = 600.0
"""Seconds after which a run is taken for one that never ends, whatever it says."""
SETTLED = 5.0
"""Seconds after which Nextflow has noted that a task ended well; what ended later may be run again."""
EVENT = re.compile(
    r"(Task completed|Submitted process|Re-submitted process) > "
    r"(?:TaskHandler\[.*?name: (.+?); status: (\w+); exit: (\d+);.*?workDir: ([^\s\]]+)|(.+))"
)
QUICK = {"n_iterations": "4,4", "sections_per_task": 1, "shrink_factor": 2}
# Nothing waits for a task to be looked at.
CONFIG = "executor { pollInterval = '100 ms' }\n"


class HangsError(Exception):
    """A head job does not end; the message says where its threads are."""


@dataclass(frozen=True)
class Disturbed(Stage):
    """The stage in a file system that may be full; its log is kept elsewhere.

    Parameters
    ----------
    log : Path
        Nextflow's log of the next run.
    begun : float
        When that run began.
    """

    log: Path
    begun: float = field(default_factory=time.time)

    def runs(self, head: subprocess.Popen[str]) -> bool:
        """Say whether the head job runs; one that hangs is an error."""
        if head.poll() is not None:
            return False
        said = self.log.stat().st_mtime if self.log.exists() else self.begun
        if time.time() < min(max(said, self.begun) + SILENT, self.begun + ENDLESS):
            return True
        send(head.pid, signal.SIGQUIT)  # Java prints where its threads are
        time.sleep(3.0)
        raise HangsError(f"{sorted(self.running().items())}\n{self.output()[-50_000:]}")

    def wait(self, head: subprocess.Popen[str], seconds: float = float("inf")) -> int | None:
        """Wait until the head job has ended, or so many seconds; return its exit status."""
        until = time.time() + seconds
        while self.runs(head) and time.time() < until:
            time.sleep(0.1)
        return head.poll()

    def kill(self) -> None:
        """Kill the tasks that a head job left."""
        for number in self.processes():
            send(number, signal.SIGKILL)

    def environment(self) -> dict[str, str]:
        """Return the environment of the head job."""
        return super().environment() | {"NXF_LOG_FILE": str(self.log)}

    def cpu_seconds(self, head: subprocess.Popen[str]) -> float:
        """CPU time of the head job and its tasks, as far as they run or were waited for."""
        total = 0
        for number in (head.pid, *self.processes()):
            try:
                text = Path(f"/proc/{number}/stat").read_text()
            except OSError:  # it ended
                continue
            total += sum(map(int, text.rpartition(")")[2].split()[11:15]))  # its own, and of children
        return total / os.sysconf("SC_CLK_TCK")

    def running(self) -> dict[int, tuple[str, str]]:
        """Return task and command of each process that runs in a task's folder, by its number."""
        found = {}
        for number in sorted(self.processes()):
            try:
                folder = Path(os.readlink(f"/proc/{number}/cwd"))
                command = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                name = TASK_NAME.search((folder / ".command.run").read_text())
            except OSError:  # it ended
                continue
            if name:
                found[number] = (name[1], command)
        return found


# What can happen: each fault gets the stage, the dice and the head job, and returns the tasks that ran; none where
# nothing was there to be hit.


def kill_one(stage: Disturbed, dice: random.Random, head: subprocess.Popen[str], which: str) -> list[str]:
    """Kill a process whose command matches, when there is one; return its task."""
    while stage.runs(head):
        running = stage.running()
        if fitting := [number for number, (_, command) in running.items() if re.search(which, command)]:
            number = dice.choice(fitting)
            send(number, signal.SIGKILL)
            return [running[number][0]]
        time.sleep(0.05)
    return []


def end_head(stage: Disturbed, head: subprocess.Popen[str], what: signal.Signals, *, all_with_it: bool) -> list[str]:
    """Signal the head job and wait for its end; return the tasks that ran."""
    running = stage.running()
    send(head.pid, what)
    if all_with_it:
        stage.kill()
    stage.wait(head)
    return tasks_of(running)


def fill_disk(stage: Disturbed, dice: random.Random, head: subprocess.Popen[str]) -> list[str]:
    """Fill the disk, and free it after a while or when the run has ended; return the tasks that ran."""
    running = stage.running()
    ballast = stage.folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as stream, suppress(OSError):  # no space left
            while True:
                stream.write(bytes(2**16))
        stage.wait(head, dice.uniform(1, LONGEST_FULL))
    finally:
        ballast.unlink()
    return tasks_of(running)


def tasks_of(running: dict[int, tuple[str, str]]) -> list[str]:
    return sorted({task for task, _ in running.values()}) or ["no task"]


def ending(what: signal.Signals, *, all_with_it: bool) -> Fault:
    return lambda stage, _dice, head: end_head(stage, head, what, all_with_it=all_with_it)


def killing(which: str) -> Fault:
    return lambda stage, dice, head: kill_one(stage, dice, head, which)


Fault = Callable[[Disturbed, random.Random, "subprocess.Popen[str]"], list[str]]
DISK_FULL = "disk full for a while"
OF_A_TASK = {"a task's Python killed", "a task's shell killed"}
FAULTS: dict[str, tuple[int, Fault]] = {  # name: weight and what is done
    "a task's Python killed": (3, killing(r"^\S*python\S* \S+/bin/\w+\.py ")),
    "a task's shell killed": (3, killing(r"^/bin/bash .*\.command\.(run|sh)")),
    "head job killed, its tasks live on": (1, ending(signal.SIGKILL, all_with_it=False)),
    "head job and its tasks killed": (1, ending(signal.SIGKILL, all_with_it=True)),
    "head job ended (SIGTERM)": (1, ending(signal.SIGTERM, all_with_it=False)),
    "head job interrupted (Ctrl-C)": (1, ending(signal.SIGINT, all_with_it=False)),
    DISK_FULL: (2, fill_disk),
}


def run_on(stage: Disturbed, head: subprocess.Popen[str], seconds: float) -> bool:
    """Wait until the run has taken so much more CPU time, and say whether it still runs."""
    until = stage.cpu_seconds(head) + seconds
    while stage.runs(head):
        if stage.cpu_seconds(head) >= until:
            return True
        time.sleep(0.1)
    return False


# What is looked at.


@dataclass
class Tally:
    """What happened in all rounds.

    Parameters
    ----------
    wanted : int
        How many faults to inject.
    until : float
        When injecting ends in any case, by `time.monotonic`. The round is finished then.
    """

    wanted: int
    until: float = float("inf")
    injected: dict[str, Counter[str]] = field(default_factory=dict)
    rounds: int = 0
    runs: int = 0
    again: int = 0  # the tasks that were hit, and those that ran while the head job ended
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    redone: list[str] = field(default_factory=list)
    unfounded: list[str] = field(default_factory=list)  # runs that failed though nothing was injected
    hung: list[str] = field(default_factory=list)
    partial: Counter[str] = field(default_factory=Counter)
    unmounted: int = 0  # rounds without a file system of their own, and so without a full disk

    @property
    def n_injected(self) -> int:
        return sum(counter.total() for counter in self.injected.values())

    @property
    def sound(self) -> bool:
        """Whether results came out as they should. What was done again cost time alone: it is counted and named."""
        faults = self.lost or self.different or self.unfounded or self.hung
        return not (faults or self.partial[PART])

    @property
    def goes_on(self) -> bool:
        """Are more faults to be injected?"""
        return self.n_injected < self.wanted and time.monotonic() < self.until

    def table(self) -> str:
        """Return the closing table."""
        lines = ["| fault | injected | what ran |", "|---|---|---|"]
        for fault, counter in self.injected.items():
            what = ", ".join(f"{name} {n}" for name, n in sorted(counter.items()))
            lines.append(f"| {fault} | {counter.total()} | {what} |")
        where = f"in {self.rounds} rounds, {self.runs} runs of the head job"
        lines.append(f"| all, of {self.wanted} asked for | {self.n_injected} | {where} |")
        looks = ", ".join(f"{what} {n}" for what, n in sorted(self.partial.items())) or "none"
        lines += [
            "",
            f"lost {len(self.lost)}, different {len(self.different)}, redone {len(self.redone)}, "
            f"failed undisturbed {len(self.unfounded)}, hung {len(self.hung)}",
            f"tasks run again because they were hit or ran when the head job ended: {self.again}",
            f"folders of acquisitions after interrupted runs: {looks}",
            f"rounds in which no file system could be mounted, and so no disk was full: {self.unmounted}",
            *(
                f"{kind}: {what}"
                for kind in ("lost", "different", "redone", "unfounded", "hung")
                for what in getattr(self, kind)
            ),
        ]
        return "\n".join(lines)


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file, but those that tell of the run itself: when it was, and how long it took."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _OF_THE_RUN.search(str(file))]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


_OF_THE_RUN = re.compile(r"/pipeline_info/(?!digests)|/ro-crate-metadata\.json$")


PART, WHOLE = "part of a result", "the whole result"


def state_of(folder: Path) -> str:
    """Return what an acquisition's folder holds after a run that did not end well."""
    if not any(path.is_file() for path in folder.rglob("*")):
        return "nothing"
    try:
        faults = verify_acquisition(folder)
    except (ValueError, OSError):
        return PART
    whole = not faults and all((folder / name).is_file() for name in ("report.html", "metrics.json"))
    return WHOLE if whole else PART


@dataclass
class Run:
    """One run of the head job: its log, what was injected, and when that first met the head job or its disk."""

    log: Path
    injected: list[str] = field(default_factory=list)
    cut_at: float = float("inf")


def tasks_in(runs: Sequence[Run]) -> tuple[int, list[str]]:
    """Return how many tasks of acquisitions were run again, and those of them that had ended well before."""
    submitted: Counter[str] = Counter()
    done: set[str] = set()
    redone = []
    for run in runs:
        text = run.log.read_text(errors="replace") if run.log.exists() else ""  # a head job killed early has none
        for what, completed, status, code, folder, name in EVENT.findall(text):
            task = (completed or name).split(":")[-1].strip()
            if task in OF_THE_BATCH:
                continue
            if what != "Task completed":
                submitted[task] += 1
                if task in done:
                    redone.append(task)
            elif (status, code) == ("COMPLETED", "0"):
                ended = Path(folder, ".exitcode").stat().st_mtime
                done |= {task} if ended < run.cut_at - SETTLED else set()
    return submitted.total() - len(submitted) - len(redone), redone


# The rounds.


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system at a folder where that can be done, and say whether it was."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def one_run(
    tally: Tally, run: Run, stage: Disturbed, dice: random.Random, faults: list[str], span: float
) -> int | None:
    """Run or resume the stage and disturb it every so often; return its exit status, none where it hangs."""
    weights = [FAULTS[name][0] for name in faults]
    options = ("-resume",) if (stage.folder / "output.txt").exists() else ()
    with stage.started(*options, profile="standard", config=CONFIG, settings=QUICK) as head:
        try:
            while tally.goes_on and run_on(stage, head, dice.random() * span):
                (fault,) = dice.choices(faults, weights)
                begun = time.time()
                run.injected.append(fault)  # whatever comes of it
                hit = FAULTS[fault][1](stage, dice, head)
                if not hit:
                    run.injected.pop()
                    continue
                if fault not in OF_A_TASK:
                    run.cut_at = min(run.cut_at, begun)
                tally.injected.setdefault(fault, Counter()).update([" + ".join(map(process_of, hit))])
            return stage.wait(head)
        except HangsError as error:
            tally.hung.append(f"after {', '.join(run.injected) or 'no fault'}: {error}")
            return None


def one_round(tally: Tally, stage: Disturbed, quiet: dict[str, str], dice: random.Random, span: float) -> None:
    """Disturb and resume the stage until it is done, and look at the results."""
    name = f"round {tally.rounds + 1}"
    tally.rounds += 1
    runs: list[Run] = []
    with small_disk(stage.folder) as mounted:
        faults = [name for name in FAULTS if mounted or name != DISK_FULL]
        tally.unmounted += not mounted
        status: int | None = 1
        while status and len(runs) < MOST_RUNS:
            run = Run(stage.log.with_name(f"{stage.folder.name}.run_{len(runs) + 1}.log"))
            runs.append(run)
            now = Disturbed(stage.folder, stage.pipeline, stage.samplesheet, run.log)
            status = one_run(tally, run, now, dice, faults, span)
            tally.runs += 1
            if status != 0:
                tally.partial.update(state_of(stage.results / name) for name in ACQUISITIONS)
                if not run.injected:
                    tally.unfounded.append(f"{name}, run {len(runs)}: {now.output()[-2000:]}")
            what = ", ".join(run.injected) or "undisturbed"
            print(f"{name}, run {len(runs)}: exit status {status}; {what}", flush=True)
        stage.kill()
        again, redone = tasks_in(runs)
        tally.again += again
        tally.redone += [f"{name}: {task}" for task in redone]
        if status != 0:
            tally.lost.append(f"{name}: not done after {len(runs)} runs")
            return
        found = digests(stage.results)
        tally.lost += [f"{name}: {file}" for file in sorted(quiet.keys() - found.keys())]
        tally.different += [f"{name}: {file}" for file in sorted(found) if found[file] != quiet.get(file)]
        tally.lost += [
            f"{name}: {acquisition} is not the whole result"
            for acquisition in ACQUISITIONS
            if state_of(stage.results / acquisition) != WHOLE
        ]


def cpu_of_children() -> float:
    """CPU time of all that this process, which may run other tests, has waited for."""
    times = os.times()
    return times.children_user + times.children_system


def process_of(task: str) -> str:
    return task.split(" ")[0] if task != "no task" else task


def write_inputs(folder: Path) -> Path:
    """Write two small acquisitions of two and one sections, in both versions of OME-Zarr."""
    from linumpy.simulate import simulate_acquisition

    rows = []
    for name, sections, version in zip(ACQUISITIONS, (2, 1), ("0.5", "0.4"), strict=True):
        volume = simulate_acquisition((10, 32, 36), sections=sections, voxel_size_um=(10.0, 20.0, 20.0), seed=1).volume
        write_ome_zarr(folder / f"{name}.ome.zarr", volume, version=version)
        rows.append({"acquisition": name, "image": f"{name}.ome.zarr", "n_sections": sections})
    return write_samplesheet(folder / "samplesheet.csv", rows)


def soak(folder: Path, tally: Tally, seed: int) -> None:
    """Inject faults, work in a folder, and tally what happens."""
    # A shell that starts this in the background has Ctrl-C ignored, and a Java that inherits that ignores it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (folder / "inputs").mkdir(parents=True)
    (folder / "logs").mkdir()
    pipeline = copy_pipeline(folder / "pipeline")
    samplesheet = write_inputs(folder / "inputs")
    stage = Disturbed(folder / "quiet", pipeline, samplesheet, folder / "logs" / "quiet.log")
    given = digests(samplesheet.parent)
    begun, cpu = time.monotonic(), cpu_of_children()
    stage.run(profile="standard", config=CONFIG, settings=QUICK)
    cpu = cpu_of_children() - cpu
    if not EVENT.search(stage.log.read_text()):
        raise ValueError(f"{stage.log} names no task: nothing could be told of those that run again")
    quiet = digests(stage.results)
    dice = random.Random(seed)
    print(f"the quiet run took {cpu:.0f} s of CPU in {time.monotonic() - begun:.0f} s; {len(quiet)} files", flush=True)
    while tally.goes_on:
        number = tally.rounds + 1
        disturbed = Disturbed(folder / f"round_{number}", pipeline, samplesheet, stage.log)
        one_round(tally, disturbed, quiet, dice, SHARE * cpu)
        print(f"{tally.n_injected} of {tally.wanted} faults injected\n{tally.table()}\n", flush=True)
    if digests(samplesheet.parent) != given:
        tally.different.append("the inputs")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--injections", type=int, default=200, help="how many faults; default 200")
    arguments.add_argument("--seed", type=int, default=0, help="of what is chosen at random; default 0")
    args = arguments.parse_args()
    tally = Tally(args.injections)

    def no_more(_signal: int, _frame: object) -> None:
        tally.until = 0.0

    signal.signal(signal.SIGTERM, no_more)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak(Path(folder).resolve(), tally, args.seed)
    print(tally.table())
    return 0 if tally.sound else 1


if __name__ == "__main__":
    sys.exit(main())
