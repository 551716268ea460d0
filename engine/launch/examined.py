"""The doctor asked about a run that is about to be made: its files, its model's template, its maximum length."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.methods import uses_retain
from engine.config.model import RunConfig, settled
from engine.data.doctor import SPLITTING, Asked, examine_apart, examine_files, in_main_thread
from engine.data.findings import Report
from engine.data.templates import local_folder
from engine.errors import ConfigError, EngineError
from engine.runs.provenance import DataFile

if TYPE_CHECKING:
    from engine.launch.prepare import Settled


def examine_run(
    about: Settled, *, progress: Callable[[int], None] | None = None, cancelled: Callable[[], bool] | None = None
) -> Report:
    """Return what is wrong with the data of a settled configuration.

    A Hub model that has not been fetched yet has no template here; the worker examines the rows again once it has.

    Args:
        about: From `engine.launch.prepare.settle`.
        progress: Told how many rows were looked at.
        cancelled: Asked as often.

    Raises:
        Cancelled: It said so.
        EngineError: A file or the tokenizer cannot be read.
    """
    asked = asked_about(about.resolved.config, about.data, local_folder(about.model))
    # Only in the main thread can a template that loops for ever be interrupted.
    examine = examine_files if in_main_thread() else examine_apart
    return examine(asked, progress=progress, cancelled=cancelled)


def asked_about(config: RunConfig, files: list[DataFile], model: Path | None) -> Asked:
    """Return what to ask for a resolved configuration.

    Args:
        config: Without any "auto".
        files: Its data files, found.
        model: Folder with the tokenizer; None when it has yet to be fetched.
    """
    validation: dict[str, str] = {}
    for file in files:
        name = file.role.partition(":")[2]
        if file.role.startswith("validation:"):  # a set may be several files
            validation[f"{name} {len(validation) + 1}" if name in validation else name] = file.path
    return Asked(
        train=tuple(file.path for file in files if file.role == "train"),
        validation=validation,
        model=str(model) if model is not None else None,
        chat_template=config.model.chat_template,
        max_length=None if _is_split(config) else settled(config.data.max_length),
        completion_only_loss=config.data.completion_only_loss,
        eos_token=config.trainer.get("eos_token"),
        limit=config.data.limit,
        mapping=config.data.mapping or None,
        method=config.method.name,
        uses_retain=uses_retain(config),
    )


@contextlib.contextmanager
def in_stage(name: str) -> Iterator[None]:
    """Say of which stage an error is, where there are several."""
    try:
        yield
    except ConfigError as error:
        if not name:
            raise
        raise ConfigError([f"stage {name}: {one}" for one in error.problems], remedy=error.remedy) from error
    except EngineError as error:
        if name:
            error.message = f"Stage {name}: {error.message}"
            error.args = (error.message,)
        raise


def _is_split(config: RunConfig) -> bool:
    return config.data.packing and config.trainer.get("packing_strategy", "bfd") in SPLITTING
