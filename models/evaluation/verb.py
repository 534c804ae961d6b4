"""`innervate eval`: measure the model's skills in closed-loop runs."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from innervate.models.progress import Progress
from innervate.runtime.ali.errors import InnervateError, nearest
from innervate.runtime.cli.options import add_bundle, opened

if TYPE_CHECKING:
    from innervate.models.evaluation.play import Player
    from innervate.models.evaluation.report import Outcome
    from innervate.runtime.backbone.bundle import Bundle

COUNT, QUICK_COUNT = 160, 24  # cases a row: about five minutes and one, on four cores, for one variant
CASES_A_MINUTE = 16  # cases that count as much as a minute of the row `false`: 160 and ten minutes
GROUPS = {"held-out": ("held-out",), "judges": ("other makes",), "all": ("held-out", "other makes")}

_EPILOG = """\
Each row is a set of seeded scenarios with voices, positions, rooms, light and noise that training never draws, at 10 dB signal to noise.
Every one runs on the whole device in virtual time: emulator, plugins, engine. It is judged by its events and by where things stood.

rows: directions, find, find_held_out, follow, stop, squeeze, see, see_held_out, force, false, false_typed

examples:
  innervate eval --quick                                a first look, in a minute
  innervate eval                                        the default variant, 160 cases a row
  innervate eval --variant all --json out/eval.json     the three variants on the same cases, side by side
  innervate eval --variant dq8 fp32 --rows stop,see     two of them
  innervate eval --rows stop,find --count 400 --keep out/failed
  innervate run --scenario out/failed/stop-003-dq8/scenario.toml      look at a failure
  innervate eval --voices judges                        voices of flite and festival, which are in nobody's training
  innervate eval --ear --voices judges                  what the ear alone makes of each of them, in a minute

exit codes: 0 done (whether or not goals are met; --strict: 1 when one is not), 2 a mistake in the command line, 3 something missing or broken
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "eval",
        help="measure the model's skills in closed-loop runs",
        description="Measure how often the device does what it is told, with 95 % intervals.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    several = "one or several of dq8, nb8, fp32, or auto or all; several run on the same cases, side by side (default: auto)"
    parser.add_argument("--variant", nargs="+", default=["auto"], metavar="NAME", help=several)
    parser.add_argument("--rows", metavar="A,B", help="only these rows (default: all)")
    counts = f"cases a row (default: {COUNT}); the rows of false actions take N/{CASES_A_MINUTE} minutes"
    parser.add_argument("--count", type=_whole, metavar="N", help=counts)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_COUNT} cases a row")
    parser.add_argument("--jobs", type=_whole, metavar="J", help="processes (default: one a core)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another set of cases (default: 0)")
    parser.add_argument("--voices", choices=sorted(GROUPS), default="held-out", help="espeak-ng variants held out of training, other makes, or both")
    parser.add_argument("--ear", action="store_true", help="the ear alone, voice by voice: can a linear reader tell which command it was")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures and every failure there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep scenario, sound and events of failed runs there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is not met")


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


@dataclass(frozen=True, slots=True)
class Job:
    """One case on all variants."""

    row: str
    number: int
    group: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What all jobs of an evaluation share."""

    bundle: Path
    variants: tuple[str, ...]
    seed: int
    keep: Path | None


class Worker:
    """One process's share of the work."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._player: Player | None = None

    def judge(self, job: Job) -> list[Outcome]:
        """Draw the job's case and run it on every variant; a device that breaks off has failed with its fault as the reason."""
        from innervate.models.evaluation.cases import make_case
        from innervate.models.evaluation.play import Player
        from innervate.models.evaluation.report import Outcome
        from innervate.runtime.backbone.bundle import Bundle

        plan = self._plan
        if self._player is None:
            self._player = Player(Bundle.open(plan.bundle))
        case = make_case(job.row, job.number, plan.seed, job.group)
        spoken = not all("[typed]" in what for _, what in case.said[-1:])
        keep = None if plan.keep is None else plan.keep / job.group.replace(" ", "-")
        return [
            Outcome(job.row, job.group, job.number, variant, tuple(self._player.judge(case, variant, keep)), spoken)
            for variant in plan.variants
        ]  # fmt: skip


_worker: list[Worker] = []  # of a pool's process, set once by `_begin`


def _begin(plan: Plan) -> None:
    signal.signal(signal.SIGINT, _leave)
    _worker[:] = [Worker(plan)]


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)  # at once and without a word: the parent says what is to be said


def _work(job: Job) -> list[Outcome]:
    return _worker[0].judge(job)


def outcomes_of(plan: Plan, jobs: Sequence[Job], processes: int) -> Iterator[list[Outcome]]:
    """Yield each job's outcomes, in any order; the processes end with the iterator.

    Raises InnervateError when a process dies, and whatever a job raised.
    """
    if processes == 1:
        worker = Worker(plan)
        yield from (worker.judge(job) for job in jobs)
        return
    # one thread in each: numeric libraries would otherwise start one per core in every process
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (plan,))
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes inherit it until they have a handler of their own
        try:
            futures = [pool.submit(_work, job) for job in jobs]
        finally:
            signal.signal(signal.SIGINT, before)
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise InnervateError("eval", "a process of it ended", "all to live until the end", "use fewer --jobs if memory ran out") from error
    finally:
        pool.shutdown(cancel_futures=True)


def jobs_of(rows: Sequence[str], groups: Sequence[str], count: int) -> list[Job]:
    """Return all jobs, the long ones first so that no process is left alone with one at the end."""
    from innervate.models.evaluation.cases import COUNTED

    minutes = max(1, round(count / CASES_A_MINUTE))
    counts = {row: minutes if row in COUNTED else count for row in rows}
    jobs = [Job(row, number, group) for group in groups for row in rows for number in range(counts[row])]
    return sorted(jobs, key=lambda job: (job.row not in COUNTED, job.number))


def _chosen_rows(wanted: str | None) -> list[str]:
    from innervate.models.evaluation.cases import ROWS

    names = list(ROWS) if wanted is None else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in ROWS:
            raise InnervateError("--rows", f"unknown row {name!r}", f"some of {', '.join(ROWS)}", nearest(name, ROWS))
    return names


def _plan(args: argparse.Namespace) -> Plan:
    bundle = opened(args)
    return Plan(bundle.folder, _chosen_variants(bundle, args.variant), args.seed, args.keep)


def _chosen_variants(bundle: Bundle, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of the variants to run, each once, in the order asked for. Raises BundleError for an unknown one."""
    from innervate.runtime.backbone.variant import choose_variant

    names = [name for words in wanted for name in words.split(",") if name]
    chosen = [one for name in names for one in (bundle.variants if name == "all" else [choose_variant(bundle, name, 1)])]
    return tuple(dict.fromkeys(chosen))


def _ear(args: argparse.Namespace, groups: Sequence[str]) -> int:
    from innervate.models.evaluation.ear import report
    from innervate.models.machine import machine

    bundle = opened(args)
    print(f"{bundle.folder}: the ear, seed {args.seed}; {machine()}", flush=True)
    if args.count is None:
        report(bundle, groups, args.seed)
    else:
        report(bundle, groups, args.seed, args.count)
    return 0


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    from innervate.models.evaluation import others
    from innervate.models.evaluation.report import as_json, table_lines, tallies
    from innervate.models.machine import machine

    rows, groups = _chosen_rows(args.rows), GROUPS[args.voices]
    if args.ear:
        return _ear(args, groups)
    plan = _plan(args)
    if "other makes" in groups:
        print("other makes:", ", ".join(others.voices()))
    jobs = jobs_of(rows, groups, args.count or (QUICK_COUNT if args.quick else COUNT))
    processes = min(args.jobs or len(os.sched_getaffinity(0)), len(jobs))
    print(f"{plan.bundle}: {len(jobs)} cases, {', '.join(plan.variants)}, seed {plan.seed}; {machine()}", flush=True)
    outcomes: list[Outcome] = []
    began, code = time.monotonic(), 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that processes are not left behind
    try:
        with Progress("eval", len(jobs)) as bar:
            for done in outcomes_of(plan, jobs, processes):
                outcomes += done
                bar.step(note=f"{sum(not o.reasons for o in outcomes)}/{len(outcomes)} passed")
    except KeyboardInterrupt:
        code = 130
        print(f"interrupted: figures of {len(outcomes)} of {len(jobs) * len(plan.variants)} runs", file=sys.stderr)
    print("\n".join(table_lines(outcomes, plan.variants, groups)))
    print(f"\n{len(outcomes)} runs in {time.monotonic() - began:.0f} s on {processes} processes")
    if args.json is not None and code == 0:
        head = {"bundle": str(plan.bundle), "seed": plan.seed, "machine": machine()}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(as_json(outcomes, head), indent=1) + "\n", encoding="utf-8")
    if args.strict and code == 0 and any(tally.met is False for tally in tallies(outcomes).values()):
        code = 1
    return code
