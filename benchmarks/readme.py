"""Puts the figures of `results.json` into the README: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.figures import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
_BEGIN, _END = "<!-- figures: begin -->\n", "<!-- figures: end -->"


def figures_table() -> str:
    """Return the figures as a Markdown table, with the machines they were measured on."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    machines = list(dict.fromkeys(row["machine"] for row in rows))
    lines = ["| | measured | promised | the alternative | holds | on |", "|---|---|---|---|---|---|"]
    for row in rows:
        unit = row["unit"]
        value = "not measured" if row["value"] is None else f"{row['value']:g} {unit}".strip()
        against = "" if row["against"] is None else f"{row['against']:g} {unit}".strip()
        promised = row["bar"].replace("< against", "better").replace("<= ", "≤ ").replace(">= ", "≥ ")
        promised = promised if promised == "better" else f"{promised} {unit}".strip()
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        machine = chr(ord("A") + machines.index(row["machine"]))
        lines.append(f"| {row['what']} | {value} | {promised} | {against} | {holds} | {machine} |")
    named = "; ".join(f"{chr(ord('A') + at)}: {machine}" for at, machine in enumerate(machines))
    return f"Measured on {named}.\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Replace what stands between the two marks."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    README.write_text(before + _BEGIN + figures_table() + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
