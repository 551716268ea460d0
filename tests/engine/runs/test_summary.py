"""A run in one line: read from two ends of a log of any length, right in every state."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from engine import events
from engine.events import Event
from engine.runs import lock
from engine.runs.directory import RunDirectory
from engine.runs.identity import ProcessIdentity, write_identity
from engine.runs.summary import age_text, in_order, summarise, summarise_all
from tests.engine.faults import permissions_hold
from tests.engine.saved import make_run

KEEPER = events.KeeperStarted(1, 4711, None)
TRAINING = events.TrainingStarted(100_000, 1.0, 0, 10, 1, "cpu", "float32")
DEVICE = events.DeviceMeasured("cpu", 1_000_000_000, 2_000_000_000, None, 0.5, None, None)
DONE = events.WorkerExited(0, None, False, 0)
KILLED = events.WorkerExited(None, 9, False, 0)


def step(number: int, loss: float = 1.0, seconds: float = 0.5) -> events.StepFinished:
    return events.StepFinished(number, number / 100, number * 8, seconds, {"loss": loss, "grad_norm": 1.0})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "runs")


def say(run: RunDirectory, *said: Event) -> None:
    """Append events as the journal writes them, ten seconds apart from 1000 on; fast enough for megabytes."""
    number = run.events.read_bytes().count(b"\n")
    with run.events.open("a") as log:
        for event in said:
            number += 1
            log.write(json.dumps({"seq": number, "time": 990.0 + 10 * number, **events.to_json(event)}) + "\n")


def alive(run: RunDirectory) -> None:
    write_identity(run.path / "keeper.json", ProcessIdentity.of_this_process())


def unknown(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "network_file_system", lambda _: "nfs4")
    elsewhere = replace(ProcessIdentity.of_this_process(), boot_id="another", host="node7")
    write_identity(run.path / "keeper.json", elsewhere)
    (run.path / "run.lock.d").mkdir()


# -- states --------------------------------------------------------------------------------------------------


def test_a_run_that_was_only_made(run: RunDirectory) -> None:
    found = summarise(run)
    assert (found.name, found.path, found.method, found.model, found.parent) == (
        "run-1", str(run.path), "sft", "tiny", None,
    )  # fmt: skip
    assert (found.state, found.explanation, found.active) == ("died", "It was never started.", False)
    assert (found.step, found.total_steps, found.progress, found.loss, found.eta_seconds) == (0, 0, 0.0, None, None)
    assert found.created == found.last_said > 0


@pytest.mark.parametrize(
    ("said", "state", "explanation"),
    [
        ([KEEPER], "starting", ""),
        ([KEEPER, TRAINING, step(1)], "running", ""),
        ([KEEPER, TRAINING, step(1), events.RunPaused(1)], "paused", ""),
        ([KEEPER, TRAINING, events.CommandConfirmed("1", "Stop", True, "", "worker")], "stopping", ""),
    ],
    ids=["starting", "running", "paused", "stopping"],
)
def test_a_run_at_work(run: RunDirectory, said: list[Event], state: str, explanation: str) -> None:
    alive(run)
    say(run, *said)
    found = summarise(run)
    assert (found.state, found.explanation, found.active) == (state, explanation, True)


@pytest.mark.parametrize(
    ("said", "state", "explanation"),
    [
        ([events.RunEnded("finished", 5, 1.0), DONE], "finished", ""),
        ([events.RunEnded("stopped", 5, 1.0, "as asked"), DONE], "stopped", "as asked"),
        ([events.RunEnded("failed", 5, 1.0, "It broke.", "x", "Mend it."), KILLED], "failed", "It broke. Mend it."),
        ([KILLED], "died", "Killed by signal 9 (SIGKILL), cause unknown."),
        ([], "died", "It ended without a word: nobody holds its lock."),
    ],
    ids=["finished", "stopped", "failed", "died", "died without a word"],
)
def test_a_run_that_is_over(run: RunDirectory, said: list[Event], state: str, explanation: str) -> None:
    say(run, KEEPER, TRAINING, step(5), *said)
    found = summarise(run)
    assert (found.state, found.explanation, found.active) == (state, explanation, False)
    assert (found.step, found.eta_seconds) == (5, None)


def test_a_run_nobody_can_tell(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown(run, monkeypatch)
    say(run, KEEPER, TRAINING, step(5))
    found = summarise(run)
    assert (found.state, found.active) == ("unknown", False)
    assert found.explanation == "Nobody can say whether it still runs: it was started on node7. It is left alone."


def test_a_run_that_went_on_again(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, TRAINING, *(step(n, loss=9.0) for n in range(1, 8)), KILLED)
    say(run, replace(KEEPER, attempt=2), replace(TRAINING, resumed_from_step=5))
    found = summarise(run)
    assert (found.state, found.step, found.losses, found.explanation) == ("running", 5, [], "")
    say(run, step(6, loss=1.0))
    assert summarise(run).losses == [1.0]


# -- figures -------------------------------------------------------------------------------------------------


def test_the_newest_figures_are_taken(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, replace(TRAINING, total_steps=200), *(step(n, loss=n / 10, seconds=0.5) for n in range(1, 100)))
    say(run, step(100, loss=10.0, seconds=60.0))
    found = summarise(run)
    assert (found.step, found.total_steps, found.progress, found.loss) == (100, 200, 0.5, 10.0)
    assert found.losses == [n / 10 for n in range(37, 101)]
    assert (found.seconds_per_step, found.eta_seconds) == (0.5, 50.0)  # one slow step moves no median
    assert found.last_said == 990.0 + 10 * 103


def test_a_step_without_a_loss_is_still_a_step(run: RunDirectory) -> None:
    say(run, KEEPER, TRAINING, step(1), events.StepFinished(2, 0.02, 16, 0.5, {"learning_rate": 1e-4}))
    found = summarise(run)
    assert (found.step, found.loss, found.losses) == (2, 1.0, [1.0])


def test_a_loss_that_is_no_number_is_shown_and_the_json_stays_strict(run: RunDirectory) -> None:
    say(run, KEEPER, TRAINING, step(1, loss=math.nan))
    found = summarise(run)
    assert found.loss is not None
    assert math.isnan(found.loss)
    record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert record["loss"] == "NaN"
    assert record["progress"] == 1e-05
    assert "losses" not in record


def test_the_end_and_checkpoints_count_as_steps_reached(run: RunDirectory) -> None:
    say(run, KEEPER, TRAINING, step(90), events.CheckpointSaved(95, "checkpoints/checkpoint-95", 1, "scheduled"))
    assert summarise(run).step == 95
    say(run, events.RunEnded("finished", 100, 1.0))
    assert summarise(run).step == 100


def test_clocks_that_jump_change_nothing_but_the_time_shown(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, TRAINING)
    with run.events.open("a") as log:
        for number, (time, event) in enumerate([(9e9, step(1)), (5.0, step(2)), (-1.0, step(3))], start=4):
            log.write(json.dumps({"seq": number, "time": time, **events.to_json(event)}) + "\n")
    found = summarise(run)
    assert (found.step, found.state) == (3, "running")
    assert age_text(found.last_said, now=0.0) == "1 s"


# -- long and damaged logs -----------------------------------------------------------------------------------


def steps(start: int, end: int) -> Iterable[Event]:
    return (step(n) for n in range(start, end))


def test_of_a_long_log_only_the_ends_are_read(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, TRAINING, *steps(1, 5_000))
    found = summarise(run)
    assert (found.state, found.step, found.total_steps, found.method, found.created > 0) == (
        "running", 4999, 100_000, "sft", True,
    )  # fmt: skip
    assert len(found.losses) == 64


def test_of_a_long_log_of_several_stages_the_middle_says_how_many_steps_there_are(run: RunDirectory) -> None:
    alive(run)
    begun = events.StageBegun("sft", 1, 2, "sft", 0, 0.0, "", "")
    say(run, KEEPER, begun, replace(TRAINING, total_steps=5_000), *steps(1, 2_000))
    assert (summarise(run).total_steps, summarise(run).stage) == (5_000, "sft")
    # The first was stopped early.
    say(run, replace(begun, name="dpo", number=2, first_step=2_000), replace(TRAINING, total_steps=4_000))
    say(run, *steps(2_000, 3_500))
    for _ in range(2):  # the second time from what is remembered
        assert (summarise(run).step, summarise(run).total_steps, summarise(run).stage) == (3_499, 4_000, "dpo")


@pytest.mark.parametrize(
    "early",
    [
        pytest.param([events.RunPaused(3)], id="a pause"),
        pytest.param([events.CommandConfirmed("1", "Stop", True, "", "worker")], id="a stop"),
        pytest.param([events.RunEnded("failed", 3, 1.0, "It broke."), KILLED], id="a failure"),
        pytest.param([KILLED], id="a kill"),
    ],
)
def test_what_the_beginning_said_is_over_when_the_middle_is_not_read(run: RunDirectory, early: list[Event]) -> None:
    alive(run)
    say(run, KEEPER, TRAINING, step(3, loss=9.0), *early)
    # Between the two ends: the pause ended, or the run was resumed.
    say(run, *steps(4, 200), replace(KEEPER, attempt=2), TRAINING, *steps(200, 2_000))
    found = summarise(run)
    assert (found.state, found.step, found.explanation) == ("running", 1999, "")
    assert 9.0 not in found.losses


def test_a_run_paused_for_hours_is_paused_and_keeps_its_figures(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, TRAINING, *steps(1, 300), events.RunPaused(299), *[DEVICE] * 4_000)
    assert run.events.stat().st_size > 500_000
    found = summarise(run)
    assert (found.state, found.step, found.loss) == ("paused", 299, 1.0)


def test_a_run_that_is_loading_for_hours_is_starting(run: RunDirectory) -> None:
    alive(run)
    say(run, KEEPER, *[DEVICE] * 1_000)
    assert summarise(run).state == "starting"


@pytest.mark.parametrize(
    "damage",
    [b'{"seq":7,"time":1.0,"event":"StepFi', bytes(4096) + b"\n", b"\xff\xfe\n", b"x" * 200_000 + b"\n",
     b"[" * 50_000 + b"\n"],
    ids=["torn", "zeros", "no text", "a long line", "a deep nest"],
)  # fmt: skip
def test_a_damaged_line_costs_only_itself(run: RunDirectory, damage: bytes) -> None:
    alive(run)
    say(run, KEEPER, TRAINING, step(5, loss=2.0))
    with run.events.open("ab") as log:
        log.write(damage)
    found = summarise(run)
    assert (found.state, found.step, found.loss, found.method) == ("running", 5, 2.0, "sft")


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", bytes(100_000), b"nonsense\n" * 20_000], ids=["empty", "blank", "zeros", "no log"]
)
def test_a_log_that_says_nothing_is_a_run_that_never_started(run: RunDirectory, content: bytes) -> None:
    run.events.write_bytes(content)
    found = summarise(run)
    assert (found.state, found.method, found.created, found.step) == ("died", "", 0.0, 0)


# -- lists ---------------------------------------------------------------------------------------------------


def test_runs_at_work_come_first_then_the_newest(tmp_path: Path) -> None:
    for name in ("old", "newer", "busy"):
        run = make_run(tmp_path / "runs", name)
        text = run.events.read_text()
        time = {"old": "5.000", "newer": "9.000", "busy": "1.000"}[name]
        run.events.write_text(f'{{"seq":1,"time":{time},' + text.partition(",")[2].partition(",")[2])
        if name == "busy":
            alive(run)
            say(run, KEEPER)
    assert [found.name for found in summarise_all(tmp_path / "runs")] == ["busy", "newer", "old"]


def test_names_decide_between_runs_of_one_moment(run: RunDirectory) -> None:
    one = summarise(run)
    assert [s.name for s in in_order([replace(one, name="b"), replace(one, name="a")])] == ["a", "b"]


def test_a_run_that_may_not_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    theirs, _ = make_run(tmp_path / "runs", "theirs"), make_run(tmp_path / "runs", "ours")
    os.chmod(theirs.events, 0o000)
    with permissions_hold():
        found = {summary.name: summary for summary in summarise_all(tmp_path / "runs")}
    assert set(found) == {"ours", "theirs"}
    assert found["theirs"].state == "unknown"
    assert "Permission denied" in found["theirs"].explanation


def test_a_workspace_without_runs_has_none(tmp_path: Path) -> None:
    assert summarise_all(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (86_400, "1 d"),
     (8_640_000, "100 d"), (-3600, "0 s")],
)  # fmt: skip
def test_an_age_is_one_number(seconds: float, text: str) -> None:
    assert age_text(1_000_000.0, now=1_000_000.0 + seconds) == text


def test_an_age_is_counted_from_now() -> None:
    assert age_text(0.0).endswith(" d")


def test_many_dropped_rows_do_not_hide_how_many_steps_there_are(run: RunDirectory) -> None:
    dropped = [{"path": "rows.jsonl", "line": line, "reason": "no question and answer " * 8} for line in range(50)]
    sets = [events.DataPrepared(name, 99, 49, 50, dropped, 1000, 100) for name in ("train", "retain", "unlearn")]
    say(run, KEEPER, *sets, TRAINING, *(step(number) for number in range(1, 1500)))
    alive(run)
    found = summarise(run)
    assert (found.state, found.step, found.total_steps) == ("running", 1499, 100_000)
