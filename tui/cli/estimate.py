"""`ftconsole estimate`: will it fit, how long will it take; asked of arithmetic, or of two real steps."""

from __future__ import annotations

import time
from typing import Any

from engine.hardware.memory import COMPONENTS, Estimate
from engine.launch.forecast import Forecast, forecast, training_seconds
from engine.launch.prepare import Settled, settle
from engine.launch.probe import Probed, predict, probe, remember
from engine.runs.plan import size_text
from engine.workspace import Workspace
from tui.cli import output
from tui.cli.train import Asked, given
from tui.display import plain

_BAR = 30


def estimate(workspace: str | None, asked: Asked, *, measure: bool, seconds: float, as_json: bool) -> int:
    """Print what memory a run would need and how long it would take; with `measure` after trying.

    Args:
        workspace: As before the command.
        asked: File, preset and options.
        measure: Try two steps, then look for the largest batch that fits.
        seconds: How long the search may take.
        as_json: Print one object.

    Raises:
        EngineError: It cannot be settled, told or tried. That it does not fit is no error.
    """
    place = Workspace.find(workspace)
    settled = settle(place, given(asked, place))
    told = forecast(place, settled)
    found: Probed | None = None
    if measure:
        found = probe(
            told.largest,
            budget_seconds=seconds,
            progress=lambda what: output.note(f"Trying: {plain(what)}", style="dim"),
        )
        remember(found, told.largest, told.shape, now=time.time())
    if as_json:
        output.emit(_object(settled, told, found))
        return 0
    _show(settled, told, found)
    return 0


def _show(settled: Settled, told: Forecast, found: Probed | None) -> None:
    config = settled.resolved.config
    memory, processes = told.memory, config.launch.num_processes
    output.out(
        f"{plain(config.model.name)}, {config.model.dtype} on {config.model.device}: "
        f"{memory.batch.rows} x {memory.batch.length} tokens in a batch"
        + (f" of each of {processes} processes" if processes != 1 else "")
        + (f", in the stage that needs most, {told.stage}" if told.stage else "")
    )
    largest = max(memory.components.values()) or 1
    for name in COMPONENTS:
        size = memory.components[name]
        output.out(f"  {name:<12} {size_text(size):>9}  {'#' * round(_BAR * size / largest)}".rstrip())
    output.out(f"  {'total':<12} {size_text(memory.total_bytes):>9}  {_verdict(memory)}", style=_style(memory.fits))
    if memory.correction.reason:
        output.out(f"  {plain(memory.correction.reason)}")
    tokens = "" if told.num_tokens is None else f", some {told.num_tokens:,} tokens"
    output.out(f"{told.num_steps:,} steps{tokens}")
    room = told.room
    kept = f"{room.num_checkpoints} checkpoint{'s' if room.num_checkpoints > 1 else ''} of {size_text(room.each_bytes)}"
    output.out(
        f"On disk: {kept} at once, best and final, log: {room.sentence()}", style="error" if room.fits is False else ""
    )
    if found is None:
        output.note("Predicted; `--probe` tries it.")
        return
    output.out("Tried, two steps each:")
    for trial in found.trials:
        rows = f"{trial.rows} row" + ("s" if trial.rows > 1 else "")
        if not trial.fits:
            cut = f" cut to {trial.max_length} tokens" if trial.max_length else ""
            output.out(f"  {rows}{cut}: does not fit", style="error")
            continue
        speed = f", {trial.tokens_per_second:,.0f} tokens/s" if trial.tokens_per_second else ""
        predicted = predict(told.largest, told.shape, _batch(trial, told.largest), corrected=False).total_bytes
        off = (predicted - trial.peak_bytes) / trial.peak_bytes
        output.out(
            f"  {rows} x {trial.length} tokens: {size_text(trial.peak_bytes)} at the peak{speed} "
            f"(predicted {size_text(predicted)}, {off:+.0%})"
        )
    output.out(_conclusion(found), style=_style(found.fits))
    if found.said:
        output.out(f"  {plain(found.said)}")
    if (takes := training_seconds(found, told.num_tokens)) is not None:
        output.out(f"Training takes some {output.duration(takes)}, evaluations and checkpoints not counted.")


def _conclusion(found: Probed) -> str:
    if not found.largest_rows:
        return "It does not fit, not even with one short row in a batch."
    best = found.best
    length = best.length if best is not None else 0
    how = "Fits" if found.proven else "Should fit"
    return f"{how} at batch {found.largest_rows}, length {length}."


def _verdict(memory: Estimate) -> str:
    if memory.free_bytes is None:
        return "how much is free is not known"
    return f"{'fits' if memory.fits else 'does not fit'}: {size_text(memory.free_bytes)} free"


def _style(fits: bool | None) -> str:
    return "" if fits is None else "good" if fits else "error"


def _batch(trial: Any, given: Settled) -> Any:
    from engine.config.methods import sequences_per_row
    from engine.hardware.memory import Batch

    return Batch(trial.rows * sequences_per_row(given.resolved.config), trial.length, trial.trained_share)


def _object(settled: Settled, told: Forecast, found: Probed | None) -> dict[str, Any]:
    config, memory = settled.resolved.config, told.memory
    return {
        "model": config.model.name,
        "device": config.model.device,
        "dtype": config.model.dtype,
        "num_processes": config.launch.num_processes,
        "rows": memory.batch.rows,
        "length": memory.batch.length,
        "components": memory.components,
        "total_bytes": memory.total_bytes,
        "free_bytes": memory.free_bytes,
        "device_bytes": memory.device_bytes,
        "fits": memory.fits,
        "correction": memory.correction.reason or None,
        "num_steps": told.num_steps,
        "num_tokens": told.num_tokens,
        "disk": told.room.as_dict(),
        "probe": None if found is None else _probe_object(found, told),
    }


def _probe_object(found: Probed, told: Forecast) -> dict[str, Any]:
    return {
        "fits": found.fits,
        "largest_rows": found.largest_rows,
        "proven": found.proven,
        "said": found.said or None,
        "context_bytes": found.context_bytes,
        "weight_bytes": found.weight_bytes,
        "adapter_bytes": found.adapter_bytes,
        "optimizer_bytes": found.optimizer_bytes,
        "trials": [
            {
                "rows": trial.rows,
                "fits": trial.fits,
                "length": trial.length or None,
                "peak_bytes": trial.peak_bytes or None,
                "tokens_per_second": trial.tokens_per_second,
                "step_seconds": trial.step_seconds or None,
                "max_length": trial.max_length or None,
            }
            for trial in found.trials
        ],
        "training_seconds": training_seconds(found, told.num_tokens),
    }
