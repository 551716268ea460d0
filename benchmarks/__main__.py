"""Measure: `python -m benchmarks [--only id,...]`. Prints a table and writes `results.json`."""

from __future__ import annotations

import argparse
import compileall
import os
import sys
import time
from pathlib import Path

from benchmarks import (
    browser,
    chat,
    console,
    continual,
    data,
    export,
    history,
    leet,
    masks,
    memory,
    merging,
    methods,
    talking,
    training,
)
from benchmarks.figures import Figure, machine, table, write

ALL = {
    **training.BENCHMARKS,
    **console.BENCHMARKS,
    **browser.BENCHMARKS,
    **history.BENCHMARKS,
    **leet.BENCHMARKS,
    **masks.BENCHMARKS,
    **data.BENCHMARKS,
    **memory.BENCHMARKS,
    **talking.BENCHMARKS,
    **methods.BENCHMARKS,
    **continual.BENCHMARKS,
    **export.BENCHMARKS,
    **merging.BENCHMARKS,
    **chat.BENCHMARKS,
}


def compile_as_installed() -> None:
    """Compile our modules, as pip does when it installs them.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, every start compiled them anew: 0.1 s of the 0.36 s
    to the first paint, which no installation has.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    root = Path(__file__).resolve().parent.parent
    for package in ("engine", "tui", "screens", "benchmarks"):
        compileall.compile_dir(root / package, quiet=2)


def main() -> int:
    """Run what is asked for. Exits 0 whatever the figures are: a timing decides nothing."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", default="", help=f"some of {', '.join(ALL)}")
    names = [name for name in parser.parse_args().only.split(",") if name] or list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(ALL)}")
    print(machine(), file=sys.stderr)
    compile_as_installed()
    figures: list[Figure] = []
    for name in names:
        began = time.monotonic()
        measured = list(ALL[name]())
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        figures += measured
    write(figures)
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
