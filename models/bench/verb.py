"""`innervate bench`: speed and memory on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from innervate.runtime.cli.options import add_bundle, installs_extra, opened

if TYPE_CHECKING:
    from innervate.runtime.backbone.bundle import Bundle

TICK_MS_MAX, BOOT_S_MAX, BOOT_MB_MAX = 3.0, 0.8, 150.0  # goals
PARTS = ("tick", "engine", "boot", "hour")
SPANS = 6  # of a long run

_EPILOG = """\
Every figure is a median of wall time, the backbone on one thread. Figures mean little while something else runs on the machine.

examples:
  innervate bench                          tick, engine and boot, in half a minute
  innervate bench --parts hour             an hour of emulated time in one session: two to three minutes
  innervate bench --parts tick --variant nb8

exit codes: 0 done (whether or not goals are met), 2 a mistake in the command line, 3 something missing or broken
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description="Measure the device's tick, engine, boot and endurance on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    parser.add_argument("--variant", default="auto", metavar="NAME", help="dq8, nb8, fp32 or auto (default: auto, by CPU features)")
    parser.add_argument("--parts", metavar="A,B", default="tick,engine,boot", help=f"some of {', '.join(PARTS)} (default: all but hour)")
    parser.add_argument("--hour", action="store_true", help="the same as adding hour to --parts")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="length of the hour (default: 60)")
    parser.add_argument("--repeats", type=int, default=500, metavar="N", help="timed passes of each part (default: 500)")


def goal(value: float, most: float, unit: str) -> str:
    """Say whether `value` keeps to a goal."""
    return f"goal at most {most:g} {unit}: {'met' if value <= most else 'NOT MET'}"


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    # one thread in every library of this process and its children; read when they load
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from innervate.models.machine import machine
    from innervate.runtime.ali.errors import InnervateError, nearest
    from innervate.runtime.backbone.variant import choose_variant

    parts = [part.strip() for part in args.parts.split(",")] + ["hour"] * args.hour
    for part in parts:
        if part not in PARTS:
            raise InnervateError("--parts", f"unknown part {part!r}", f"some of {', '.join(PARTS)}", nearest(part, PARTS))
    bundle = opened(args)
    variant = choose_variant(bundle, args.variant, 1)
    print(f"{bundle.folder}, {variant}; {machine()}; load {os.getloadavg()[0]:.1f}", flush=True)
    if "tick" in parts:
        _tick(bundle, variant, args.repeats)
    if "engine" in parts:
        _engine(bundle, args.repeats)
    if "boot" in parts:
        _boot(bundle, variant)
    if "hour" in parts:
        _hour(bundle, variant, args.minutes)
    return 0


def _tick(bundle: Bundle, variant: str, repeats: int) -> None:
    from innervate.models.bench.replay import frames
    from innervate.models.bench.tick import part_figures, tick_figures

    found = tick_figures(bundle, variant, 60.0, frames())
    print(f"\nwhole tick without rendering, {found.ticks} ticks")
    print(f"  p50 {found.p50 / 1e3:6.2f} ms   p99 {found.p99 / 1e3:6.2f} ms   {goal(found.p50 / 1e3, TICK_MS_MAX, 'ms (p50)')}")
    print(f"  p50 of ticks that emit nothing: {found.idle_p50 / 1e3:.2f} ms with the motor closed, {found.driving_p50 / 1e3:.2f} ms with it open")
    print("  parts, medians in us:")
    for name, median in part_figures(bundle, variant, repeats).items():
        print(f"    {name:<24}{median:8.1f}", flush=True)


def _engine(bundle: Bundle, repeats: int) -> None:
    missing = [name for name in ("onnx", "onnxruntime_genai") if importlib.util.find_spec(name) is None]
    print("\nengine against onnxruntime-genai on the same weights")
    if missing:
        print(f"  left out: not installed here: {' '.join(missing)}; run: {installs_extra('bench')}")
        return
    from innervate.models.bench_engine import compare, contexts

    print(f"  medians in us   {'variant':<8}{'context':>8}{'step':>9}{'tick':>9}{'token':>9}{'genai':>9}{'step/genai':>12}{'token/genai':>13}")
    ratios: list[float] = []
    with tempfile.TemporaryDirectory(prefix="innervate-bench-") as folder:
        for variant in bundle.variants:
            for context in contexts(bundle):
                row = compare(bundle, variant, context, Path(folder), repeats)
                ratios.append(row["step_ratio"])
                cells = "".join(f"{row[name]:9.1f}" for name in ("step_us", "tick_us", "token_us", "genai_us"))
                print(f"{'':18}{variant:<8}{context:8}{cells}{row['step_ratio']:12.3f}{row['token_ratio']:13.3f}", flush=True)
    mean = statistics.mean(ratios)  # one cell swings by some percent with the load of the machine
    print(f"  step/genai: mean {mean:.3f}, worst {max(ratios):.3f}   {goal(mean, 1.0, 'on average')}")


def _boot(bundle: Bundle, variant: str) -> None:
    from innervate.models.bench.boot import boot

    boots = [boot(bundle.folder, variant) for _ in range(6)][1:]  # the first one fills the disk cache
    seconds, memory = (statistics.median(values) for values in ([b.first_tick_s for b in boots], [b.rss_mb for b in boots]))
    print("\nboot: from process start to the first tick, five plugins on twins, no MuJoCo, median of 5")
    print(f"  {seconds:.2f} s   {goal(seconds, BOOT_S_MAX, 's')}")
    print(f"  {memory:.0f} MB RSS at most   {goal(memory, BOOT_MB_MAX, 'MB')}")


def _hour(bundle: Bundle, variant: str, minutes: float) -> None:
    from innervate.models.bench.replay import frames
    from innervate.models.bench.tick import Span, long_run

    spans: list[Span] = []
    print(f"\n{minutes:g} minutes of emulated time in one session, without rendering", flush=True)

    def note(span: Span) -> None:
        spans.append(span)
        timing = f"tick p50 {span.p50 / 1e3:6.2f} ms  p99 {span.p99 / 1e3:6.2f} ms"
        print(f"  minutes {span.from_min:5.1f} to {span.to_min:5.1f}   {timing}   RSS {span.rss_mb:.1f} MB", flush=True)

    long_run(bundle, variant, minutes, frames(), SPANS, note)
    first, last = spans[0], spans[-1]
    print(f"  last against first: tick {last.p50 / first.p50:.2f} times, RSS {last.rss_mb - first.rss_mb:+.1f} MB")
