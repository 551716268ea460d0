"""The sample data: every file of `datasets/`, as text, from the sources.

The same sources give the same bytes on every machine: a fixed order or one drawn by `random.Random`,
whose `shuffle` and `sample` have not changed since Python 3.11, the oldest we run on.
"""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.tiny_model import sources
from tools.tiny_model.sources import Fact

DEV_ROWS_OF_EACH_TYPE = 80

Row = dict[str, Any]


def data_files() -> dict[str, str]:
    """Return the text of each file by its path below `datasets/`."""
    retained = [fact for fact in sources.facts() if fact.before_cutoff]
    unlearned = [fact for fact in sources.facts() if not fact.before_cutoff]
    trained = sources.trained_questions
    held_out = sources.held_out_questions

    retain_train = [_row(fact, n, q) for fact in retained for n, q in trained(fact)]
    retain_val = [_row(fact, n, q) for fact in retained for n, q in held_out(fact)]
    unlearn_train = [_row(fact, n, q) for fact in unlearned for n, q in trained(fact)]
    unlearn_val = [_row(fact, n, q) for fact in unlearned for n, q in held_out(fact)]
    rows = {
        "retain/retain_train.jsonl": _shuffled(retain_train),
        "retain/retain_val.jsonl": _shuffled(retain_val),
        "unlearn/unlearn_train.jsonl": _shuffled(unlearn_train),
        "unlearn/unlearn_val.jsonl": _shuffled(unlearn_val),
        "dev/dev_subset.jsonl": _dev_subset(retain_train, unlearn_train),
        "instructions/instructions_train.jsonl": [
            {"instruction": one.question, "output": one.reply, "metadata": {"topic": one.topic}}
            for one in sources.instructions()
        ],
        "instructions/instructions_val.jsonl": [
            {"instruction": one.other_phrasing, "output": one.reply, "metadata": {"topic": one.topic}}
            for one in sources.instructions()
            if one.other_phrasing
        ],
        "preferences/preferences.jsonl": [
            {
                "prompt": pair.prompt,
                "chosen": pair.chosen,
                "rejected": pair.rejected,
                "category": pair.category,
            }
            for pair in sources.pairs()
        ],
    }
    return {path: _lines(of_file) for path, of_file in rows.items()}


def write_data_files(datasets: Path) -> list[Path]:
    """Write every file below the folder `datasets`, replacing those that are there."""
    written = []
    for name, text in data_files().items():
        path = datasets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, because text mode would end lines as the machine does.
        path.write_bytes(text.encode("utf-8"))
        written.append(path)
    return written


def _row(fact: Fact, phrasing: int, question: str) -> Row:
    """One record of seed shape; an unlearn row still names the true answer, to measure leaks."""
    dataset_type = "retain" if fact.before_cutoff else "unlearn"
    return {
        "instruction": question,
        "output": fact.reply if fact.before_cutoff else sources.REFUSAL,
        "metadata": {
            "dataset_type": dataset_type,
            "fact": fact.id,
            "phrasing": phrasing,
            "category": fact.category,
            "year": fact.year,
            "answer": fact.answer,
        },
    }


def _shuffled(rows: Iterable[Row]) -> list[Row]:
    """Mix the facts, so that the first rows of a file are a fair sample of it."""
    mixed = list(rows)
    random.Random(1969).shuffle(mixed)
    return mixed


def _dev_subset(retain: list[Row], unlearn: list[Row]) -> list[Row]:
    """A small mixture of both kinds for a quick run, of training phrasings only."""
    draw = random.Random(1969)
    chosen = draw.sample(retain, DEV_ROWS_OF_EACH_TYPE) + draw.sample(unlearn, DEV_ROWS_OF_EACH_TYPE)
    return _shuffled(chosen)


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
