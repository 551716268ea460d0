"""What a settled configuration comes to: memory of its largest batch, steps, tokens and, from a probe, time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.config.automatic import num_optimizer_steps, rows_per_step
from engine.config.catalogue import catalogue
from engine.config.methods import sequences_per_row
from engine.config.model import settled
from engine.hardware.memory import Batch, Estimate
from engine.hardware.model_shape import ModelShape, find_shape
from engine.launch.prepare import Settled
from engine.launch.probe import Probed, largest_length, predict
from engine.runs.room import Room, room_before
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Forecast:
    """Before anything is loaded."""

    memory: Estimate
    shape: ModelShape
    num_steps: int
    """Optimizer steps; packing makes fewer."""
    num_tokens: int | None
    """Of all training rows in all epochs, padding aside. None when the tokenizer is not on this machine."""
    room: Room
    """On disk."""
    largest: Settled
    """Whose memory it is: of several stages the one that needs most."""
    stage: str = ""
    """The name of that stage; empty for a run in one."""


def forecast(workspace: Workspace, given: Settled) -> Forecast:
    """Return what a configuration comes to on this machine.

    Raises:
        NotEstimated: Nothing on this machine says how large the model is.
    """
    if given.stages:
        return _of_stages([replace(forecast(workspace, one), stage=name) for name, one in given.stages])
    config = given.resolved.config
    shape = find_shape(given.model, catalogue(workspace).get(config.model.name))
    memory = predict(given, shape, largest_batch(given))
    room = disk(workspace, given, memory)
    return Forecast(memory, shape, num_steps(given), num_tokens(given), room, given)


def _of_stages(stages: list[Forecast]) -> Forecast:
    """Return what stages come to together: the memory of the one that needs most, the steps and tokens of all."""
    largest = max(stages, key=lambda one: one.memory.total_bytes)
    tokens = [one.num_tokens for one in stages if one.num_tokens is not None]
    return replace(
        largest,
        num_steps=sum(one.num_steps for one in stages),
        num_tokens=sum(tokens) if len(tokens) == len(stages) else None,
        room=_together([one.room for one in stages]),
    )


def _together(rooms: list[Room]) -> Room:
    """Return the disk of all stages, at most: what rotation removes of one while the next is at work is not counted."""
    return replace(max(rooms, key=lambda one: one.to_come_bytes), to_come_bytes=sum(one.to_come_bytes for one in rooms))


def disk(workspace: Workspace, given: Settled, memory: Estimate | None = None) -> Room:
    """Return what the run's checkpoints and log will take, from what is trained and how it is saved.

    Args:
        workspace: Where it will be made.
        given: The configuration.
        memory: Its prediction; None where nothing says how large the model is, and then weights count as nothing.
    """
    if given.stages:
        return _together([disk(workspace, stage, memory) for _, stage in given.stages])
    parts = memory.components if memory is not None else {}
    return room_before(
        given.resolved.config,
        num_steps=num_steps(given),
        adapter_bytes=parts.get("adapter", 0),
        optimizer_bytes=parts.get("optimizer", 0),
        tokenizer_bytes=_tokenizer_bytes(given),
        folder=workspace.runs,
    )


def _tokenizer_bytes(given: Settled) -> int:
    from engine.data.templates import local_folder

    folder = local_folder(given.model)
    if folder is None:
        return 0
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt",
             "tokenizer.model", "special_tokens_map.json", "added_tokens.json")  # fmt: skip
    return sum((folder / name).stat().st_size for name in names if (folder / name).is_file())


def largest_batch(given: Settled) -> Batch:
    """Return the largest batch there will be: as long as the longest row sampled, at most `data.max_length`."""
    config = given.resolved.config
    rows = settled(config.training.per_device_train_batch_size) * sequences_per_row(config)
    return Batch(rows, largest_length(given))


def num_steps(given: Settled) -> int:
    """Return the optimizer steps of the run, packing aside."""
    if given.stages:
        return sum(num_steps(stage) for _, stage in given.stages)
    training = given.resolved.config.training
    return training.max_steps or num_optimizer_steps(
        given.facts.num_train_examples,
        settled(training.per_device_train_batch_size),
        settled(training.gradient_accumulation_steps),
        settled(training.num_train_epochs),
        settled(given.resolved.config.launch.num_processes),
    )


def num_tokens(given: Settled) -> int | None:
    """Return the tokens that the run will see, from the sampled rows; None when they could not be tokenised.

    The second answer of a pair, and a row to retain beside one to unlearn, are taken to be as long as the first.
    """
    if given.stages:
        counts = [num_tokens(stage) for _, stage in given.stages]
        return None if None in counts else sum(count or 0 for count in counts)
    config, lengths = given.resolved.config, given.facts.lengths
    if lengths is None:
        return None
    limit = settled(config.data.max_length)
    mean = sequences_per_row(config) * sum(min(length, limit) for length in lengths.sorted_lengths) / lengths.counted
    training = config.training
    if training.max_steps is not None:
        return round(mean * training.max_steps * rows_per_step(config))
    return round(mean * given.facts.num_train_examples * settled(training.num_train_epochs))


def training_seconds(found: Probed, tokens: int | None) -> float | None:
    """Return how long the training itself will take at the probe's speed; None when that cannot be told.

    Loading, evaluations and checkpoints come on top. Short rows are padded to the longest of their batch, which the
    probe's rows hardly are, so a run of very uneven rows takes longer.
    """
    best = found.best
    if best is None or not best.tokens_per_second or tokens is None:
        return None
    return tokens / best.tokens_per_second
