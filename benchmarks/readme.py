"""Puts `results.json` into `docs/figures.md` and a dozen of its figures into the README.

python -m benchmarks.readme
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.figures import RESULTS

Row: TypeAlias = Mapping[str, Any]
ROOT = Path(__file__).resolve().parent.parent
README, DOCUMENT = ROOT / "README.md", ROOT / "docs" / "figures.md"
_BEGIN, _END = "<!-- figures: begin -->\n", "<!-- figures: end -->"
_HEADLINES: Mapping[str, str] = {
    "first-paint.cold": "cold start of the console to its first paint",
    "leet.first-paint": "first paint of a run of 10,000 steps with 8 metrics; against W&B's terminal viewer",
    "leet.live-cpu": "a live run on screen: processor; against the same",
    "leet.live-bytes": "a live run on screen: what goes over the line; against the same",
    "memory.million": "memory of the console with a run of 1,000,000 steps open",
    "overhead": "steps a second of a run under an open console, over those of a bare TRL script",
    "first-page.page": "first page of a file of 10 GB",
    "statistics.against": "statistics of 1 GB with exact duplicates; against `datasets.load_dataset` reading it",
    "prepared-cache": "20,000 rows prepared at a second start; against the first",
    "stream-cost.cpu": "two answers of 50 tokens/s on screen, side by side",
    "parity.f16": "the exported f16 file against adapter on base, mean KL",
    "export-cost.0.5b-time": "export of half a billion weights in 7 types, over llama.cpp's own tools alone",
    "learned.refusal-unlearn-refused": "refused of what was to be unlearned, in words that were not trained on",
}
"""What the README shows, in words that need no context."""
_THEMES: Mapping[str, tuple[str, ...]] = {
    "The console": (
        "help", "first-paint", "key-latency", "idle", "live-cost", "memory", "mouse", "slow-link", "million-steps",
        "leet",
    ),
    "Training": (
        "event-append", "overhead", "method-overhead", "dpo-precompute", "npo-cost", "learned", "continual",
        "prepared-cache", "memory-prediction", "gpu-throughput",
    ),
    "Data": ("first-page", "page", "index", "statistics", "doctor-rate", "mask-next"),
    "Checkpoints and export": ("browser", "merge-cost", "export-cost", "parity", "architectures"),
    "Chat": ("base-is-base", "hooks", "switch", "pair-cost", "stream-cost", "long-talk"),
}  # fmt: skip
"""Benchmarks by what they are about."""


def headlines(rows: Sequence[Row]) -> str:
    """Return the README's part: a dozen figures, and how many of all hold."""
    by_id = {row["id"]: row for row in rows}
    lines = ["| | measured | promised, or the alternative |", "|---|---|---|"]
    for name, what in _HEADLINES.items():
        if (row := by_id.get(name)) is not None:
            other = _against(row, digits=3) or _promised(row)
            mark = " **(missed)**" if row["holds"] is False else ""
            lines.append(f"| {what} | {_value(row, digits=3)}{mark} | {other} |")
    judged = [row for row in rows if row["holds"] is not None]
    held = sum(row["holds"] for row in judged)
    return (
        "\n".join(lines) + f"\n\nOf {len(judged)} figures {held} hold what was promised of them. "
        "[docs/figures.md](docs/figures.md) has all, those that do not first, and the machines.\n"
    )


def document(rows: Sequence[Row]) -> str:
    """Return every figure by theme, with the machines they were measured on."""
    machines = list(dict.fromkeys(row["machine"] for row in rows))
    named = "\n".join(f"- {_letter(at)}: {machine}" for at, machine in enumerate(machines))
    parts = [
        "# Figures\n\nWritten by `python -m benchmarks.readme` from `benchmarks/results.json`. `make bench` measures\n"
        "them again, `make bench ONLY=ID` some; the ID is what stands before the dot. Machines:\n\n" + named
    ]
    missed = [row for row in rows if row["holds"] is False]
    if missed:
        parts.append("## Missed\n\n" + _table(missed, machines))
    themed = {name for names in _THEMES.values() for name in names}
    others = tuple(dict.fromkeys(name for row in rows if (name := _benchmark(row)) not in themed))
    for theme, names in {**_THEMES, "Others": others}.items():
        of_theme = [row for name in names for row in rows if _benchmark(row) == name]
        if of_theme:
            parts.append(f"## {theme}\n\n" + _table(of_theme, machines))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], machines: Sequence[str]) -> str:
    lines = ["| ID | | measured | promised | the alternative | holds | on |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        on = _letter(machines.index(row["machine"]))
        cells = (f"`{row['id']}`", row["what"], _value(row), _promised(row), _against(row), holds, on)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _benchmark(row: Row) -> str:
    return str(row["id"]).partition(".")[0]


def _letter(at: int) -> str:
    return chr(ord("A") + at)


def _value(row: Row, *, digits: int = 6) -> str:
    return "not measured" if row["value"] is None else _with_unit(f"{row['value']:.{digits}g}", row)


def _against(row: Row, *, digits: int = 6) -> str:
    return "" if row["against"] is None else _with_unit(f"{row['against']:.{digits}g}", row)


def _promised(row: Row) -> str:
    promised = row["bar"].replace("< against", "better").replace("<= ", "≤ ").replace(">= ", "≥ ")
    return promised if promised == "better" else _with_unit(promised, row)


def _with_unit(text: str, row: Row) -> str:
    return f"{text} {row['unit']}".strip()


def main() -> None:
    """Write the document, and replace what stands between the README's two marks."""
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8"))
    DOCUMENT.write_text(document(rows), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    README.write_text(before + _BEGIN + headlines(rows) + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
