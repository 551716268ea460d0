"""The environment of a worker: what torch and the tokenizers read when they are imported. Imports none of them."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from engine.config.arguments import device_environment
from engine.config.resolved import ResolvedConfig
from engine.runs.checkpoints import run_id
from engine.runs.directory import RunDirectory

_LAUNCHED = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
"""Names, and beginnings of names, of what torchrun, accelerate and MPI tell their processes."""


def forget_other_processes(environment: MutableMapping[str, str]) -> None:
    """Take out what a launcher of several processes leaves in a terminal opened below it: a run is one process.

    With a WORLD_SIZE of 2 in it the first collective operation waits for another process that never comes.
    """
    for name in [name for name in environment if name in _LAUNCHED or name.startswith(_LAUNCHERS)]:
        del environment[name]


def prepare_environment(run: RunDirectory, resolved: ResolvedConfig) -> None:
    """Set what a worker of this run is to find.

    Raises:
        ConfigError: The run's device is hidden from this process.
    """
    forget_other_processes(os.environ)
    # torch's threads spin while they wait for each other: 300,000 times unless told. Beside another training on
    # 2 cores a step of the built-in model took 5.4 s with that and 0.6 s with 1,000; alone 1,000 cost 14 % of the
    # speed and 20,000 none that could be measured.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # W&B writes into the current folder, which is /; where that cannot be written, into /tmp.
    os.environ.setdefault("WANDB_DIR", str(run.path))
    os.environ.setdefault("WANDB_RUN_ID", run_id(run))
    os.environ.setdefault("WANDB_RESUME", "allow")  # a resumed run goes on in the same W&B run
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.update(device_environment(resolved))
