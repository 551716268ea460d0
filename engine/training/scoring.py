"""A suite asked of the weights in memory when a checkpoint was written, so that its result stands beside it.

Training is worth more than a measurement: whatever goes wrong here is told, and the run goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import events
from engine.config.model import RunConfig
from engine.errors import EngineError
from engine.evaluation.asking import Asking
from engine.evaluation.evaluate import Asked, Test, keep_result, questions
from engine.runs.directory import RunDirectory
from engine.runs.provenance import Provenance
from engine.spec import local_model
from engine.training.answering import answer
from engine.training.failures import explained
from engine.training.orders import EvaluationCut, StopNow
from engine.training.reporter import Reporter
from engine.workspace import Workspace

_BATCH = 32
_ORDERS = (EvaluationCut, StopNow)
"""What ends an evaluation because somebody said so."""


class Scorer:
    """Asks the suite of a run, as often as its settings say.

    Args:
        run: Its folder.
        config: Resolved; `evaluation.suite` is set.
        provenance: Of the run: the files of the test.
        tokenizer: The model's.
        reporter: Told what is done, and what came out or went wrong.
    """

    def __init__(
        self, run: RunDirectory, config: RunConfig, provenance: Provenance, tokenizer: Any, reporter: Reporter
    ) -> None:
        self.run, self.settings, self.tokenizer, self.reporter = run, config.evaluation, tokenizer, reporter
        files = provenance.files("suite") or [file for file in provenance.data if file.role.startswith("validation:")]
        self._paths = [Path(file.path) for file in files]
        self._test: Test | None = None

    def score(self, model: Any, folder: Path, when: str, heard: Callable[[], None]) -> None:
        """Ask the suite where it is wanted, and keep the result beside the run's others and with the checkpoint.

        Args:
            model: The weights that are in the folder, in memory.
            folder: Of the checkpoint, written and whole.
            when: A value of `evaluation.suite_at`.
            heard: Called between tokens; raises where the run is told to stop, and nothing is kept then.

        Raises:
            EvaluationCut, StopNow: What `heard` raised.
        """
        if when not in self.settings.suite_at:
            return
        stage = self.reporter.stage
        try:
            self._score(model, folder, heard)
        except _ORDERS:
            raise
        except Exception as error:  # noqa: BLE001 - a measurement must not end hours of training
            failure = explained(error, "evaluating")
            _free(model)
            with contextlib.suppress(EngineError):
                self.reporter.warn(
                    "suite-failed",
                    f"{folder.name} was not evaluated, and training goes on: {failure.message}",
                    f"Ask it later: `ftconsole evaluate {self.run.name}@{folder.name}`.",
                )
        with contextlib.suppress(EngineError):
            self.reporter.enter(stage)

    def _score(self, model: Any, folder: Path, heard: Callable[[], None]) -> None:
        suite = self.settings.suite
        assert suite is not None
        began = time.monotonic()
        if self._test is None:
            self._test = questions(self._paths, self.settings.suite_limit)
        rows = self._test.rows
        asking = f"{len(rows)} questions of the {suite} suite"
        self.reporter.enter("evaluating", f"{folder.name}: {asking}")
        said = answer(
            model,
            self.tokenizer,
            [row.prompt for row in rows],
            max_new_tokens=self.settings.suite_max_new_tokens,
            batch_size=_BATCH,
            each_token=heard,
            answered=lambda count: self.reporter.progress(f"{folder.name}: {count} of {asking}"),
        )
        workspace = Workspace(self.run.path.parent.parent)
        written = local_model(workspace, f"{self.run.name}@{folder.name}")
        evaluated = keep_result(
            workspace,
            written,
            self._test,
            Asked(suite, Asking(self.settings.suite_max_new_tokens)),
            said,
            seconds=time.monotonic() - began,
        )
        self.reporter.say(
            events.CheckpointEvaluated(
                step=written.step or 0,
                path=str(folder.relative_to(self.run.path)),
                suite=suite,
                scores={name: round(share.value, 6) for name, share in evaluated.shares.items()},
                counts={name: share.total for name, share in evaluated.shares.items()},
                grade=evaluated.report.grade,
                result=str(evaluated.path.relative_to(self.run.path)),
                seconds=round(time.monotonic() - began, 3),
            ),
            durable=True,
        )


def _free(model: Any) -> None:
    """Give back what a failed evaluation took of a GPU's memory: the next step needs it."""
    import torch

    if getattr(model.device, "type", "cpu") == "cuda":
        torch.cuda.empty_cache()
