"""`python -m tools.tiny_model data | weights | measure | check | all`: make the shipped data and model again."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools.tiny_model.data_files import write_data_files

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ROOT / "datasets"
MODEL = ROOT / "models" / "tiny"


def main() -> int:
    """Run the steps that are asked for; 1 when the result is not good enough to ship."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_model", description=__doc__)
    parser.add_argument("step", choices=["data", "weights", "measure", "check", "all"])
    parser.add_argument("--datasets", type=Path, default=DATASETS, help="where data is written")
    parser.add_argument("--model", type=Path, default=MODEL, help="the model's folder")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the weights depend on it")
    parser.add_argument("--only", choices=["unlearning", "instructions", "preferences"], help="one check of `check`")
    asked = parser.parse_args()
    # Nothing here needs the network, and a look-up on the hub would wait for it.
    os.environ["HF_HUB_OFFLINE"] = "1"

    good = True
    if asked.step in ("data", "all"):
        for path in write_data_files(asked.datasets):
            print(path)
    if asked.step in ("weights", "all"):
        make_weights(asked.model, asked.threads)
    if asked.step in ("measure", "all"):
        good &= measure(asked.model, asked.threads)
    if asked.step in ("check", "all"):
        good &= check(asked.model, asked.datasets, asked.threads, asked.only)
    return 0 if good else 1


def make_weights(folder: Path, threads: int) -> None:
    """Train, and put the folder in its place once it is whole. Its README is kept."""
    import torch

    from tools.tiny_model.tokenizer import train_tokenizer
    from tools.tiny_model.training import Recipe, save, train

    torch.set_num_threads(threads)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as beside:
        made = Path(beside) / folder.name
        tokenizer = train_tokenizer()
        save(train(tokenizer, Recipe()), tokenizer, made)
        readme = folder / "README.md"
        if readme.exists():
            shutil.copy2(readme, made)
        if folder.exists():
            folder.rename(Path(beside) / "previous")
        made.rename(folder)


def measure(folder: Path, threads: int) -> bool:
    """Print what the saved weights answer; False when that is too little to ship."""
    import torch

    from tools.tiny_model.measure import good_enough, measure_base

    torch.set_num_threads(threads)
    measured = measure_base(folder)
    print(json.dumps(measured, indent=2))
    return good_enough(measured)


def check(folder: Path, datasets: Path, threads: int, only: str | None) -> bool:
    """Fine-tune the saved weights in the ways they are made for, and print each result as it comes."""
    import torch

    from tools.tiny_model.finetuning_check import CHECKS

    torch.set_num_threads(threads)
    good = True
    for name, changed in CHECKS.items():
        if only in (None, name):
            result = changed(folder, datasets)
            print(json.dumps({name: result}, indent=2), flush=True)
            good &= result["good"]
    return good


if __name__ == "__main__":
    sys.exit(main())
