"""What can go wrong, as a name, a sentence and a remedy.

Every error a user can meet is an `EngineError`. Its `code` is stable: documentation, `RunFailed` events and
`--json` output carry it, and scripts may test for it. `exit_code` is what the command line exits with.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Something a user can understand and act on.

    Args:
        message: One sentence with the values that made it happen. Shown as it is, never as markup.
        remedy: The next thing to do: a setting, a key or a command. Empty when there is nothing to do.
    """

    code: ClassVar[str] = "engine-error"
    """Stable name. Lower case with hyphens."""
    exit_code: ClassVar[int] = 1
    """Exit status of a command that ends with this error. The table is in `docs/command-line.md`."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form: `code`, `message`, `remedy`."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}


class UsageError(EngineError):
    """What was asked for cannot be asked for: a wrong option, name or value."""

    code = "usage"
    exit_code = 2


class InvalidName(UsageError):
    """A run, metric or checkpoint name that could leave its folder or cannot be shown safely."""

    code = "invalid-name"


class TargetExists(UsageError):
    """Something is there already, and was not to be replaced."""

    code = "target-exists"


class NotFound(EngineError):
    """A file, folder, run, checkpoint or model that was named is not there."""

    code = "not-found"
    exit_code = 3


class ConfigError(EngineError):
    """The configuration has problems. `problems` lists all of them, not only the first."""

    code = "invalid-config"
    exit_code = 4

    def __init__(self, problems: list[str], *, remedy: str = "") -> None:
        self.problems = problems
        count = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        super().__init__(
            f"The configuration has {count}: " + "; ".join(problems),
            remedy=remedy or "Correct the settings named and start again.",
        )


class DataError(EngineError):
    """Rows that cannot be read or that would teach nothing."""

    code = "invalid-data"
    exit_code = 5


class NothingToLearn(DataError):
    """Every label is masked, so no step could change the model."""

    code = "nothing-to-learn"


class RunBusy(EngineError):
    """The run is alive, or cannot be proven dead, so a second worker must not start."""

    code = "run-busy"
    exit_code = 6


class NotRunning(EngineError):
    """A command was given to a run that no process is working on."""

    code = "not-running"
    exit_code = 6


class WorkspaceError(EngineError):
    """The workspace or run folder cannot be used: unwritable, full, of a hostile owner or malformed."""

    code = "workspace"
    exit_code = 7


class DiskFull(WorkspaceError):
    """There is no room for what must be written."""

    code = "disk-full"


class CheckpointError(EngineError):
    """No checkpoint that can be used, or one that does not prove what its manifest says."""

    code = "checkpoint"
    exit_code = 8


class MissingPackage(EngineError):
    """An optional package is needed and not installed."""

    code = "missing-package"
    exit_code = 9


class WorkerFailed(EngineError):
    """Training ended with an error. The subclass or the remedy says which."""

    code = "worker-failed"
    exit_code = 10


class NonFinite(WorkerFailed):
    """Loss or gradient became NaN or infinite; the optimizer step was not taken."""

    code = "non-finite"


class OutOfMemory(WorkerFailed):
    """The device or the host ran out of memory."""

    code = "out-of-memory"


class DeviceFault(WorkerFailed):
    """The accelerator reported a fault that a retry would not cure."""

    code = "device-fault"


class TerminalError(EngineError):
    """The terminal cannot show the console."""

    code = "terminal"
    exit_code = 2


class EndpointError(EngineError):
    """A server that answers for a model did not do so: it cannot be reached, refused, broke off or said nonsense."""

    code = "endpoint"
    exit_code = 12


class NotReachable(EndpointError):
    """Nothing answers at the address."""

    code = "not-reachable"


class KeyNeeded(EndpointError):
    """The server wants a key, or another than it was given. It is there and works."""

    code = "key-needed"


class ModelNotLoaded(EndpointError):
    """The server works and has not loaded the model, or has it no longer."""

    code = "model-not-loaded"
