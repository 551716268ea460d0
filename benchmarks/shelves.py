"""A workspace of many runs with many checkpoints, to browse in: 200 runs with 50 each.

Files have the names and sizes that a trainer's have and no content: they are sparse, so that 120,000 of them take some
40 MB. Their hashes are not right; nothing that lists checkpoints reads them.

    python -m benchmarks.shelves FOLDER [--runs 200] [--checkpoints 50]
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from benchmarks.synthetic import write_run

SIZES = {
    "adapter_config.json": 980,
    "adapter_model.safetensors": 8_700_000,
    "chat_template.jinja": 2_400,
    "optimizer.pt": 17_500_000,
    "rng_state.pth": 14_645,
    "scheduler.pt": 1_465,
    "tokenizer.json": 11_400_000,
    "tokenizer_config.json": 620,
    "trainer_state.json": 90_000,
    "README.md": 5_200,
}
_HASH = "0" * 64


def write_shelves(folder: Path, num_runs: int = 200, num_checkpoints: int = 50) -> Path:
    """Write a workspace of finished runs, every fourth continued from the one before, and return it."""
    for number in range(num_runs):
        run = folder / "runs" / f"voice-{number + 1}"
        if (run / "provenance.json").exists():
            continue
        parent = f"voice-{number}" if number % 4 else None
        write_run(run, 2_000, evaluate_every=2_000 // num_checkpoints, parent=parent)
        own = f"{number:032x}"
        for index in range(1, num_checkpoints + 1):
            step = index * 2_000 // num_checkpoints
            write_shelf(run / "checkpoints" / f"checkpoint-{step}", own, step, index, number)
        write_shelf(run / "best", own, 1_000, 1, number)
        write_shelf(run / "final", own, 2_000, 1, number)
        (run / "provenance.json").write_text(json.dumps({"run_id": own}) + "\n")
    return folder


def write_shelf(folder: Path, run_id: str, step: int, sequence: int, seed: int = 0) -> None:
    """Write one checkpoint's folder."""
    folder.mkdir(parents=True)
    loss = 2.0 / (1 + step / 400) + 0.01 * ((step * 7919 + seed) % 17)
    metadata = {
        "step": step, "created": f"2026-11-{1 + seed % 28:02}T12:00:{sequence % 60:02}+00:00", "run": "synthetic",
        "reason": "scheduled", "epoch": step / 500, "num_tokens": step * 4096,
        "metrics": {"loss": loss, "grad_norm": 0.7, "learning_rate": 1e-4, "mean_token_accuracy": 1 - loss / 4,
                    "eval_loss": loss * 1.1, "eval_retain_loss": loss, "eval_unlearn_loss": loss * 1.2},
        "best_value": loss, "base_commit": None, "learning_rate": 2e-4,
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    sizes = {**SIZES, "metadata.json": (folder / "metadata.json").stat().st_size}
    for name, size in SIZES.items():
        fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(fd, size)
        os.close(fd)
    files = {name: {"size": size, "sha256": _HASH} for name, size in sorted(sizes.items())}
    manifest = {"version": 1, "run_id": run_id, "step": step, "sequence": sequence, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--checkpoints", type=int, default=50)
    asked = parser.parse_args()
    print(write_shelves(asked.folder, asked.runs, asked.checkpoints))


if __name__ == "__main__":
    main()
