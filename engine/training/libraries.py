"""How a process imports the libraries in less time: what it leaves out, and when it looks for garbage.

PEFT imports bitsandbytes wherever it is installed, and that torch's compiler: 2 of the 11 s of processor time before a
first step on two cores. Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.config.resolved import ResolvedConfig
from engine.runs.provenance import cached_commit, hub_cache
from engine.weights import read_json

_OPTIMIZERS_OF_TORCH = frozenset({"adamw_torch_fused", "adamw_torch", "adafactor", "sgd"})


def without_bitsandbytes() -> None:
    """Have this process do as if bitsandbytes were not installed. To be called before PEFT is imported."""
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # what importlib takes for "not there"


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import libraries without looking for garbage meanwhile, and keep what they made out of its sight afterwards.

    A million objects that stay: looking through them took 2 of the 12 s of processor time, and takes half a second of
    each full collection, of which a training asks for one.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def trains_without_bitsandbytes(resolved: ResolvedConfig, source: str, revision: str | None) -> bool:
    """Return whether no stage of a run computes with it.

    Args:
        resolved: The run's settings.
        source: Of the base, a local folder or a Hub name.
        revision: Branch, tag or commit of a Hub model.
    """
    for _, part in resolved.parts():
        config = part.config
        if config.model.load_in_4bit or config.model.load_in_8bit or config.training.optim not in _OPTIMIZERS_OF_TORCH:
            return False
    return not stored_quantised(source, revision)


def stored_quantised(source: str, revision: str | None) -> bool:
    """Return whether a base is stored quantised; True as well for one that has yet to be fetched.

    Args:
        source: A local folder, or a Hub name.
        revision: Branch, tag or commit of a Hub model.
    """
    folder = Path(source)
    if not folder.is_dir():
        snapshots = hub_cache() / f"models--{source.replace('/', '--')}" / "snapshots"
        folder = snapshots / (cached_commit(source, revision) or "none")
    config = read_json(folder / "config.json")
    return not config or "quantization_config" in config
