"""Damages files on purpose and sees what the commands make of them: each must be used, or refused in words.

    python tools/fuzz/driver.py                          10,000 mutants over all kinds (make fuzz)
    python tools/fuzz/driver.py --kinds manifest,golden --count 500 --seed 7 --json
    python tools/fuzz/driver.py --kinds manifest --again 123      one of them in this process, with its traceback

Counted are: accepted, refused (an EdgesmithError), traceback (anything else that is raised, and warnings of numpy that a
user would see), hang, over (a gigabyte of memory) and, apart, crash: the process ended by a signal, which only the
libraries that we use can do. The exit status is 1 where there are tracebacks, hangs or mutants over a gigabyte.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from child import load_kind
from watch import CRASH, OUTCOMES, Tally, run_kind

KINDS = Path(__file__).with_name("kinds")


def kinds_there() -> list[str]:
    return sorted(path.stem for path in KINDS.glob("[a-z]*.py"))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kinds", default=",".join(kinds_there()), help="comma between; or the path of a kind's module"
    )
    parser.add_argument("--count", type=int, default=10_000, help="mutants over all kinds together")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--limit-s", type=float, default=60, help="what takes longer hangs")
    parser.add_argument("--again", type=int, metavar="INDEX", help="one mutant of the one kind, in this process")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    paths = [Path(name) if name.endswith(".py") else KINDS / f"{name}.py" for name in asked.kinds.split(",")]
    if missing := [path.stem for path in paths if not path.is_file()]:
        parser.error(f"no kind {', '.join(missing)}: there are {', '.join(kinds_there())}")
    if asked.again is not None:
        again(paths[0], asked.seed, asked.again)
        return 0
    tallies = []
    for number, path in enumerate(paths):
        count = asked.count // len(paths) + (number < asked.count % len(paths))
        tallies.append(run_kind(path, count, asked.seed, asked.limit_s, tick=None if asked.json else counted))
    if asked.json:
        print(json.dumps({"seed": asked.seed, "kinds": [tally.to_json() for tally in tallies]}, indent=1))
    else:
        show(tallies, asked.seed)
    return int(any(tally.failed for tally in tallies))


def again(path: Path, seed: str, index: int) -> None:
    """Makes one mutant, leaves it in a temporary folder, and uses it without a net."""
    kind = load_kind(path)
    folder, target = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    kind.prepare(folder)
    found = kind.mutant(random.Random(f"{seed}/{kind.NAME}/{index}"), folder, target)
    print(found, file=sys.stderr)
    kind.use(found)


def counted(tally: Tally) -> None:
    if sys.stderr.isatty():
        print(f"\r{tally.name}: {sum(tally.counts.values()):,} mutants", end="", file=sys.stderr, flush=True)


def show(tallies: list[Tally], seed: str) -> None:
    """One line a kind, then what should not be, alike ones together."""
    total = Tally("all", sum((tally.counts for tally in tallies), type(tallies[0].counts)()))
    total.seconds = sum(tally.seconds for tally in tallies)
    print(f"{'kind':<12}{'mutants':>9}" + "".join(f"{outcome:>11}" for outcome in OUTCOMES) + f"{'seconds':>10}")
    for tally in [*tallies, total] if len(tallies) > 1 else tallies:
        told = "".join(f"{tally.counts[outcome]:>11,}" for outcome in OUTCOMES)
        print(f"{tally.name:<12}{sum(tally.counts.values()):>9,}{told}{tally.seconds:>10.0f}")
    for tally in tallies:
        for (outcome, what), indices in sorted(tally.found.items(), key=lambda pair: -len(pair[1])):
            where = "" if outcome == CRASH else f" --kinds {tally.name} --seed {seed} --again {indices[0]}"
            print(f"\n{tally.name}: {len(indices)} x {outcome}: {what}\n   {where}")


if __name__ == "__main__":
    sys.exit(main())
