"""`make train`: the bundle `nano` from nothing, in stages that each resume after a kill.

speech -> ear      espeak-ng utterances, rooms and noise     grounded on what was said
scenes -> eye      frames of the emulator                    grounded on what stands where
both   -> backbone sequences of independent ticks            what the expert would do
       -> bundle   graphs, rows, hashes                      models/nano
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from innervate.models.pack import pack
from innervate.models.train_backbone import BackboneTraining, train_backbone
from innervate.models.train_hearing import HearingConfig, train_hearing
from innervate.models.train_seeing import SeeingConfig, train_seeing

STAGES = ("ear", "eye", "backbone", "bundle")


@dataclass(frozen=True)
class Recipe:
    """Sizes of all stages. The shipped bundle came from these stages in steps, with changes between them (LOG.md), and fewer of the last."""

    hearing: HearingConfig = field(default_factory=HearingConfig)
    seeing: SeeingConfig = field(default_factory=SeeingConfig)
    backbone: BackboneTraining = field(default_factory=BackboneTraining)


MINIATURE = Recipe(
    HearingConfig(utterances=400, steps=20, batch=16, workers=0),
    SeeingConfig(frames=600, steps=20, batch=16),
    BackboneTraining(scenes=600, aimed=200, loose=100, tracks=50, steps=10, ticks=64, compile=False),
)


def make(folder: Path, target: Path, recipe: Recipe, *, threads: int, stages: tuple[str, ...] = STAGES) -> None:
    """Run `stages` in order; data and checkpoints live in `folder`, the bundle goes to `target`."""
    folder.mkdir(parents=True, exist_ok=True)
    if "ear" in stages:
        train_hearing(folder, recipe.hearing, threads)
    if "eye" in stages:
        train_seeing(folder, recipe.seeing, threads)
    if "backbone" in stages:
        train_backbone(folder, recipe.backbone, threads)
    if "bundle" in stages:
        print(f"bundle: {pack(folder, target, {})}")


def main() -> int:
    """Parse arguments and train."""
    parser = argparse.ArgumentParser(
        prog="python -m innervate.models.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  make train\n  make train ARGS='--mini --data /tmp/mini --target /tmp/mini/nano'\n"
        "  make train ARGS='--stages backbone bundle'",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data and checkpoints (default: data)")
    parser.add_argument("--target", type=Path, default=Path("models/nano"), help="bundle to write (default: models/nano)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="only these")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="processor threads (default: all cores)")
    parser.add_argument("--mini", action="store_true", help="a miniature of a minute, to see that everything works")
    args = parser.parse_args()
    try:
        make(args.data, args.target, MINIATURE if args.mini else Recipe(), threads=args.threads, stages=tuple(args.stages))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
