"""Whether anybody works on a run: alive, dead or unknown. Unknown is left alone. Standard library only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from engine.runs import lock
from engine.runs.identity import ProcessIdentity, read_identity

HEARTBEAT_SECONDS = 2.0
"""How often a keeper writes its heartbeat."""
STALE_SECONDS = 30.0
"""A heartbeat older than this says nothing any more. Fifteen beats: a machine under load misses a few."""


class Life(Enum):
    """The three answers."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Liveness:
    """What can be said about a run's processes, and why."""

    life: Life
    reason: str
    """For people: "held by process 4711"."""
    keeper: ProcessIdentity | None = None
    worker: ProcessIdentity | None = None


def liveness(run: Path) -> Liveness:
    """Look at lock, identity records and heartbeat; touch nothing.

    A process proven to be the recorded one is alive whatever the lock says. Dead needs proof as well: the lock is
    free, or its holder is a process of this machine that is gone, or of an earlier boot on a local file system.
    """
    keeper, worker = read_identity(run / "keeper.json"), read_identity(run / "worker.json")
    state = lock.held(run)
    known = [identity for identity in (keeper, worker) if identity is not None]
    living = [identity for identity in known if identity.is_here() and identity.is_alive()]

    def answer(life: Life, reason: str) -> Liveness:
        return Liveness(life, reason, keeper, worker)

    if living:
        return answer(Life.ALIVE, f"process {living[0].pid} works on it")
    if state is lock.Held.YES:
        if _heartbeat_age(run) < STALE_SECONDS:
            return answer(Life.ALIVE, "its lock is held and its heartbeat moves")
        return answer(Life.UNKNOWN, "its lock is held by a process that cannot be identified")
    if state is lock.Held.NO:
        return answer(Life.DEAD, "nobody holds its lock")
    if not known and not (run / "run.lock.d").is_dir():
        return answer(Life.DEAD, "it was never started")
    if known and all(lock.proven_gone(identity, run) for identity in known):
        here = [identity for identity in known if identity.is_here()]
        return answer(Life.DEAD, f"process {here[0].pid} is gone" if here else "the machine was started anew since")
    if _heartbeat_age(run) < STALE_SECONDS:
        where = known[0].host if known else "another machine"
        return answer(Life.ALIVE, f"its heartbeat moves on {where}")
    return answer(Life.UNKNOWN, f"it was started on {known[0].host if known else 'an unknown machine'}")


def beat(run: Path, nonce: str, count: int) -> None:
    """Write the keeper's heartbeat: its nonce and a counter that only grows."""
    (run / "heartbeat").write_text(f"{nonce} {count}\n", encoding="ascii")


def _heartbeat_age(run: Path) -> float:
    """Seconds since the last heartbeat by the file's own time; infinite when there is none.

    A time in the future (the clock was set back) counts as fresh: the wrong answer then is "alive", which
    does no harm.
    """
    try:
        return time.time() - (run / "heartbeat").stat().st_mtime
    except OSError:
        return float("inf")
