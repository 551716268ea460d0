"""Whether a run that is started here outlives the end of this login. Standard library only.

A keeper in a session of its own survives a hang-up. It does not survive systemd-logind where that is told to end
what a user leaves behind, nor the end of a batch system's job: both end the processes of a control group.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOGINCTL_SECONDS = 2.0
"""How long loginctl may take to answer. It takes 10 ms; a hung D-Bus never answers."""
JOBS: Mapping[str, str] = {
    "SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF", "JOB_ID": "Grid Engine", "FLUX_JOB_ID": "Flux",
}  # fmt: skip
"""Variables by which batch systems are recognised."""

_SESSION = re.compile(r"/session-[^/]+\.scope(/|$)")
_MANAGER = re.compile(r"/user@\d+\.service(/|$)")
_YES = frozenset({"1", "yes", "true", "on", "y", "t"})


@dataclass(frozen=True, slots=True)
class Logout:
    """What the end of this login does to runs."""

    ends_runs: bool | None
    """None: it cannot be told."""
    reason: str
    remedy: str = ""


def logout(
    environ: Mapping[str, str] = os.environ,
    *,
    cgroup: Path = Path("/proc/self/cgroup"),
    systemd: Path = Path("/run/systemd/system"),
    configuration: Path = Path("/"),
    lingering: Path = Path("/var/lib/systemd/linger"),
) -> Logout:
    """Look at the batch job and the login session that this process is part of.

    Args:
        environ: Of the process; loginctl is looked for on its PATH.
        cgroup: Where the kernel names our control group.
        systemd: A folder that is there where systemd is the init system.
        configuration: Root of the file system that holds logind's configuration.
        lingering: Folder with a file for each user whose services outlive their sessions.
    """
    for variable, system in JOBS.items():
        if environ.get(variable) and (variable != "JOB_ID" or environ.get("SGE_ROOT")):
            return Logout(
                True,
                f"this is {system} job {environ[variable]}, and everything in it ends with it",
                "Keep the job for as long as the run needs, or start the run as a job of its own.",
            )
    if sys.platform != "linux":
        return Logout(False, "nothing here ends what a user leaves behind")
    if not systemd.is_dir():
        return Logout(False, "systemd-logind does not run here")
    group = _own_group(cgroup)
    if group is None:
        return Logout(None, "the kernel does not name our control group")
    if _SESSION.search(group):
        return _session(environ, configuration)
    if _MANAGER.search(group):
        return _manager(environ, lingering)
    return Logout(False, "this is not part of a login session")


def _session(environ: Mapping[str, str], configuration: Path) -> Logout:
    settings = _loginctl(environ, "KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers") or _configured(
        configuration
    )
    kills = settings.get("KillUserProcesses")
    if kills is None:
        # The default is chosen when systemd is built: "no" on Debian, Ubuntu, Fedora and RHEL, "yes" upstream.
        return Logout(
            None, "logind did not say whether it ends what a user leaves behind", "Ask for KillUserProcesses=no."
        )
    user = _user()
    excluded = settings.get("KillExcludeUsers", "root").split()
    only = settings.get("KillOnlyUsers", "").split()
    if kills.lower() not in _YES or user in excluded or (only and user not in only):
        return Logout(False, "logind leaves alone what a user leaves behind")
    return Logout(
        True,
        "logind ends what a user leaves behind (KillUserProcesses=yes)",
        "Start runs outside of the session: `loginctl enable-linger`, then `systemd-run --user --scope ftconsole ...`.",
    )


def _manager(environ: Mapping[str, str], lingering: Path) -> Logout:
    lingers = (_loginctl(environ, "Linger", user=str(os.getuid())) or {}).get("Linger")
    if lingers is None:
        lingers = "yes" if (lingering / _user()).exists() else "no"
    if lingers.lower() in _YES:
        return Logout(False, "the user's services outlive the last session (Linger=yes)")
    return Logout(
        True, "the user's services end with the last session (Linger=no)", "Run `loginctl enable-linger` once."
    )


def _own_group(cgroup: Path) -> str | None:
    """Return the path of our control group in systemd's hierarchy."""
    try:
        lines = cgroup.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    groups = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1)
    }
    return groups.get("name=systemd") or groups.get("")


def _loginctl(environ: Mapping[str, str], *properties: str, user: str | None = None) -> dict[str, str] | None:
    """Return properties of a user, of logind itself without one; None when there is no answer."""
    command = ["loginctl", "show-user", *([user] if user else []), *(f"--property={name}" for name in properties)]
    try:
        said = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOGINCTL_SECONDS,
            env=dict(environ),
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.partition("=") for line in said.splitlines())
    return {name: value.strip() for name, _, value in pairs if name in properties} or None


def _configured(root: Path) -> dict[str, str]:
    """Return what logind's files say. Later files win, and a drop-in wins over the main file."""
    folders = [root / "usr/lib/systemd", root / "run/systemd", root / "etc/systemd"]
    files = [folder / "logind.conf" for folder in folders]
    dropped = {file.name: file for folder in folders for file in sorted((folder / "logind.conf.d").glob("*.conf"))}
    found: dict[str, str] = {}
    for file in [*files, *(dropped[name] for name in sorted(dropped))]:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith(("#", ";")):
                found[name.strip()] = value.strip()
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
