"""`innervate plugins`: what can be put on a board."""

import argparse
import json

_EPILOG = """\
examples:
  innervate plugins             one line a component, and the cause where a plugin cannot be used
  innervate plugins --json      the manifests, for programs

exit codes: 0 all can be used, 1 one of them cannot
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "plugins",
        help="list plugins",
        description="List the plugins in reach: the built-in ones, and what other packages registered.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; return the exit code."""
    import msgspec

    from innervate.runtime.ali.registry import Registry

    registry = Registry()
    broken = registry.broken()
    usable = [registry.manifest(name) for name in registry.names() if name not in broken]
    if args.json:
        print(json.dumps({"plugins": msgspec.to_builtins(usable), "broken": {k: str(v) for k, v in broken.items()}}, indent=2))
        return 1 if broken else 0
    for manifest in usable:
        print(f"{manifest.plugin.name} {manifest.plugin.version}  {manifest.plugin.summary}")
        for entry in manifest.component:
            kinds = " and ".join(kind for kind in ("driver", "virtual") if getattr(entry, kind) is not None)
            axes = ", ".join(f"{axis} {limit.min:g} to {limit.max:g} {limit.unit}" for axis, limit in entry.limits.items())
            print(f"    {entry.name:<10} {entry.kind:<10} {kinds}{'; ' + axes if axes else ''}")
    for name, error in broken.items():
        print(f"{name}  CANNOT BE USED: {error}")
    return 1 if broken else 0
