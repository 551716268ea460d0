"""Whether a run outlives the login it was started from."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.hardware.logout import Logout, logout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd-logind is Linux's")

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope\n"


@dataclass
class Machine:
    """A root folder that looks like a machine with systemd."""

    root: Path
    environ: dict[str, str]

    def look(self, group: str, **environ: str) -> Logout:
        (self.root / "cgroup").write_text(group)
        return logout(
            {**self.environ, **environ},
            cgroup=self.root / "cgroup",
            systemd=self.root / "run/systemd/system",
            configuration=self.root,
            lingering=self.root / "linger",
        )

    def loginctl(self, script: str) -> None:
        """Put a loginctl on the PATH."""
        path = self.root / "bin" / "loginctl"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def configure(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for folder in ("bin", "run/systemd/system", "linger"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    # subprocess looks a program up on the PATH it is given.
    return Machine(tmp_path, {"PATH": str(tmp_path / "bin")})


def test_a_session_whose_processes_are_killed_ends_runs(machine: Machine) -> None:
    machine.loginctl("echo KillUserProcesses=yes; echo KillExcludeUsers=root; echo KillOnlyUsers=")
    found = machine.look(SESSION)
    assert found.ends_runs is True
    assert "KillUserProcesses=yes" in found.reason
    assert "enable-linger" in found.remedy
    assert "systemd-run --user --scope" in found.remedy


@pytest.mark.parametrize(
    "said",
    [
        "KillUserProcesses=no",
        "KillUserProcesses=yes\nKillExcludeUsers=root ada",
        "KillUserProcesses=yes\nKillOnlyUsers=eve mallory",
    ],
    ids=["killing is off", "the user is excluded", "only others are killed"],
)
def test_a_session_that_is_left_alone_keeps_runs(machine: Machine, said: str) -> None:
    machine.loginctl(f"printf '%s\\n' '{said}'")
    assert machine.look(SESSION).ends_runs is False


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 600", "echo nonsense"], ids=["fails", "hangs", "babbles"])
def test_a_loginctl_that_does_not_answer_is_replaced_by_the_files(machine: Machine, script: str) -> None:
    machine.loginctl(f"PATH=/usr/bin:/bin; {script}")
    assert machine.look(SESSION).ends_runs is None
    machine.configure("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")
    assert machine.look(SESSION).ends_runs is True


def test_a_drop_in_wins_over_the_file(machine: Machine) -> None:
    machine.configure("etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    machine.configure("usr/lib/systemd/logind.conf.d/50-site.conf", "[Login]\nKillUserProcesses=no\n")
    assert machine.look(SESSION).ends_runs is False
    machine.configure("etc/systemd/logind.conf.d/50-site.conf", "[Login]\nKillUserProcesses=1\n")
    assert machine.look(SESSION).ends_runs is True
    machine.configure("run/systemd/logind.conf.d/90-last.conf", "[Login]\nKillUserProcesses=off\n")
    assert machine.look(SESSION).ends_runs is False


def test_the_users_services_end_unless_they_linger(machine: Machine) -> None:
    machine.loginctl("echo Linger=no")
    found = machine.look(MANAGER)
    assert found.ends_runs is True
    assert "loginctl enable-linger" in found.remedy
    machine.loginctl("echo Linger=yes")
    assert machine.look(MANAGER).ends_runs is False


def test_lingering_is_also_told_by_a_file(machine: Machine) -> None:
    assert machine.look(MANAGER).ends_runs is True
    (machine.root / "linger" / "ada").touch()
    assert machine.look(MANAGER).ends_runs is False


@pytest.mark.parametrize(
    "group",
    ["0::/system.slice/sshd.service\n", "0::/\n", "9:name=systemd:/\n8:pids:/x\n0::/\n"],
    ids=["a service", "a container", "both hierarchies"],
)
def test_what_is_no_login_session_is_left_alone(machine: Machine, group: str) -> None:
    machine.loginctl("echo KillUserProcesses=yes")
    assert machine.look(group).ends_runs is False


def test_the_old_hierarchy_is_read_too(machine: Machine) -> None:
    machine.loginctl("echo KillUserProcesses=yes")
    group = "2:cpu:/\n1:name=systemd:/user.slice/user-1000.slice/session-c1.scope\n"
    assert machine.look(group).ends_runs is True


def test_without_systemd_nothing_ends_runs(machine: Machine) -> None:
    (machine.root / "run/systemd/system").rmdir()
    assert machine.look(SESSION).ends_runs is False


def test_without_control_groups_it_cannot_be_told(machine: Machine) -> None:
    found = logout({}, cgroup=machine.root / "none", systemd=machine.root / "run/systemd/system")
    assert found.ends_runs is None


@pytest.mark.parametrize(
    ("environ", "system"),
    [
        ({"SLURM_JOB_ID": "42"}, "Slurm"),
        ({"PBS_JOBID": "42"}, "PBS"),
        ({"JOB_ID": "42", "SGE_ROOT": "/"}, "Grid Engine"),
    ],
)
def test_a_batch_job_ends_everything_in_it(machine: Machine, environ: dict[str, str], system: str) -> None:
    found = machine.look("0::/\n", **environ)
    assert found.ends_runs is True
    assert f"{system} job 42" in found.reason


def test_a_variable_that_only_looks_like_a_batch_system(machine: Machine) -> None:
    assert machine.look("0::/\n", JOB_ID="42").ends_runs is False


def test_this_machine_answers() -> None:
    found = logout(dict(os.environ))
    assert found.reason
    assert found.ends_runs in (True, False, None)
