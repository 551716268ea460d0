"""States: what a run said and whether anybody works on it decide which of the nine it is in."""

from __future__ import annotations

import pytest

from engine import events
from engine.events import Event
from engine.runs.lifecycle import ACTIVE, STATES, Lifecycle, State
from engine.runs.liveness import Life

CREATED = events.RunCreated("run-1", "sft", "tiny", None)
KEEPER = events.KeeperStarted(1, 4711, None)
AGAIN = events.KeeperStarted(2, 4712, "checkpoints/checkpoint-5")
TRAINING = events.TrainingStarted(100, 1.0, 0, 10, 1, "cpu", "float32")
STEP = events.StepFinished(5, 0.05, 320, 0.1, {"loss": 1.0})
PAUSED, UNPAUSED = events.RunPaused(5), events.RunUnpaused(5, 1.0)
STOP = events.CommandConfirmed("1", "Stop", True, "stopping after step 5", "worker")
REFUSED = events.CommandConfirmed("1", "Stop", False, "save must be true or false", "worker")
NO_PATIENCE = events.CommandConfirmed("", "Stop", True, "the worker did not end within 10 s", "keeper")
FINISHED = events.RunEnded("finished", 100, 9.0)
STOPPED = events.RunEnded("stopped", 5, 1.0, "as asked; `resume` goes on from here")
FAILED = events.RunEnded("failed", 5, 1.0, "Memory ran out.", "out-of-memory", "Halve the batch.")
DONE = events.WorkerExited(0, None, False, 0)
KILLED = events.WorkerExited(None, 9, False, 2)
STRANGE = events.WorkerExited(None, 99, False, 0)
RESUMED = [AGAIN, TRAINING]
CRASHED = events.WorkerExited(3, None, False, 0)
OUT_OF_MEMORY = events.WorkerExited(None, 9, True, 0)


def after(*said: Event) -> Lifecycle:
    lifecycle = Lifecycle()
    for event in said:
        lifecycle.apply(event)
    return lifecycle


@pytest.mark.parametrize(
    ("said", "life", "state"),
    [
        pytest.param([CREATED], Life.DEAD, "died", id="never started"),
        pytest.param([CREATED], Life.ALIVE, "starting", id="its keeper takes the lock"),
        pytest.param([CREATED, KEEPER], Life.ALIVE, "starting", id="loading"),
        pytest.param([CREATED, KEEPER, TRAINING], Life.ALIVE, "running", id="training"),
        pytest.param([CREATED, KEEPER, TRAINING, STEP, PAUSED], Life.ALIVE, "paused", id="paused"),
        pytest.param([CREATED, KEEPER, TRAINING, PAUSED, UNPAUSED], Life.ALIVE, "running", id="paused before"),
        pytest.param([CREATED, KEEPER, TRAINING, STOP], Life.ALIVE, "stopping", id="stopping"),
        pytest.param([CREATED, KEEPER, TRAINING, PAUSED, STOP], Life.ALIVE, "stopping", id="stopping out of a pause"),
        pytest.param([CREATED, KEEPER, TRAINING, REFUSED], Life.ALIVE, "running", id="a stop that was refused"),
        pytest.param([CREATED, KEEPER, TRAINING, FINISHED], Life.ALIVE, "finished", id="finished, about to exit"),
        pytest.param([CREATED, KEEPER, TRAINING, FINISHED, DONE], Life.DEAD, "finished", id="finished"),
        pytest.param([CREATED, KEEPER, TRAINING, STOP, STOPPED, DONE], Life.DEAD, "stopped", id="stopped"),
        pytest.param([CREATED, KEEPER, TRAINING, FAILED, CRASHED], Life.DEAD, "failed", id="failed"),
        pytest.param([KEEPER, STOP, NO_PATIENCE, KILLED], Life.DEAD, "stopped", id="killed as it did not stop"),
        pytest.param([CREATED, KEEPER, TRAINING, STOP, KILLED], Life.DEAD, "died", id="killed before it had saved"),
        pytest.param([CREATED, KEEPER, TRAINING, KILLED], Life.DEAD, "died", id="killed"),
        pytest.param([CREATED, KEEPER, TRAINING, CRASHED], Life.DEAD, "died", id="exited without a word"),
        pytest.param([CREATED, KEEPER, TRAINING, STEP], Life.DEAD, "died", id="the machine went down"),
        pytest.param([CREATED, KEEPER, TRAINING, STEP], Life.UNKNOWN, "unknown", id="on another machine"),
        pytest.param([CREATED, KEEPER, TRAINING, PAUSED], Life.UNKNOWN, "unknown", id="paused on another machine"),
        pytest.param([CREATED, KEEPER, FAILED], Life.UNKNOWN, "failed", id="failed on another machine"),
        pytest.param([CREATED, KEEPER, KILLED], Life.ALIVE, "died", id="its lock is held a moment longer"),
        pytest.param([CREATED, KEEPER, TRAINING, KILLED, AGAIN], Life.ALIVE, "starting", id="resumed"),
        pytest.param([CREATED, KEEPER, STOP, STOPPED, DONE, *RESUMED], Life.ALIVE, "running", id="resumed, training"),
        pytest.param([CREATED, KEEPER, TRAINING, PAUSED, KILLED, *RESUMED], Life.ALIVE, "running", id="after a pause"),
        pytest.param([CREATED, KEEPER, FAILED, *RESUMED], Life.DEAD, "died", id="resumed and died"),
        pytest.param([STEP], Life.ALIVE, "running", id="only the end of the log is known"),
        pytest.param([PAUSED, STEP], Life.ALIVE, "running", id="a step after a pause"),
        pytest.param([STEP, PAUSED], Life.ALIVE, "paused", id="a pause after a step"),
        pytest.param([], Life.ALIVE, "starting", id="an empty log"),
    ],
)  # fmt: skip
def test_the_state_follows_from_what_was_said(said: list[Event], life: Life, state: State) -> None:
    assert after(*said).state(life) == state


def test_every_state_is_reached_and_the_active_ones_are_known() -> None:
    (marker,) = test_the_state_follows_from_what_was_said.pytestmark  # type: ignore[attr-defined]
    assert {case.values[2] for case in marker.args[1]} == set(STATES)
    assert set(STATES) > ACTIVE


@pytest.mark.parametrize(
    ("said", "explanation"),
    [
        pytest.param([KEEPER, TRAINING], "", id="running"),
        pytest.param([KEEPER, FINISHED, DONE], "", id="finished"),
        pytest.param([KEEPER, STOPPED, DONE], "as asked; `resume` goes on from here", id="stopped"),
        pytest.param([KEEPER, FAILED, CRASHED], "Memory ran out. Halve the batch.", id="failed"),
        pytest.param([KEEPER, OUT_OF_MEMORY], "Killed by the system: the host ran out of memory.", id="out of memory"),
        pytest.param([KEEPER, KILLED], "Killed by signal 9 (SIGKILL), cause unknown.", id="killed"),
        pytest.param([KEEPER, STOP, KILLED], "Killed by signal 9 (SIGKILL), cause unknown.", id="killed while saving"),
        pytest.param(
            [KEEPER, NO_PATIENCE, KILLED],
            "Stopped at once: it did not end by itself in time and was killed. What was not saved is lost.",
            id="killed as asked",
        ),
        pytest.param([KEEPER, STRANGE], "Killed by signal 99 (unknown), cause unknown.", id="signal 99"),
        pytest.param([KEEPER, CRASHED], "The worker exited with status 3; the end of worker.log says why.", id="3"),
        pytest.param([KEEPER, FAILED, CRASHED, AGAIN], "", id="resumed"),
    ],
)  # fmt: skip
def test_an_end_is_explained_and_no_cause_is_invented(said: list[Event], explanation: str) -> None:
    assert after(*said).explanation() == explanation


@pytest.mark.parametrize(
    ("said", "over"),
    [([FINISHED], False), ([FINISHED, DONE], True), ([KILLED], True), ([KILLED, AGAIN], False)],
    ids=["about to exit", "exited", "killed", "resumed"],
)  # fmt: skip
def test_the_log_itself_says_when_nobody_works_on_it(said: list[Event], over: bool) -> None:
    assert after(*said).over is over
