"""Fetch llama.cpp's converter from the llama-cpp-python source package, through pip and whatever pip is told to use.

pip knows the index, mirror, proxy, certificates and passwords of this machine. Having downloaded a source package it
asks the package's build backend for its metadata: for this one that means to fetch CMake and half a minute. So pip is
given a backend that answers without building anything (`pip_backend/`): 7 s instead of 33 s, and no compiler.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from engine import child
from engine.child import WorkCancelled
from engine.errors import EngineError
from engine.export.converter import CLONE, VERSION, Converter, fetched_folder, missing_parts
from engine.export.failures import ConverterMissing
from engine.journal import write_error

PACKAGE: Final = "llama-cpp-python"
ARCHIVE_BYTES: Final = 76_589_250
KEPT_BYTES: Final = 2_000_000
"""What is kept of it, rounded up."""
_SHA256: Final = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_INSIDE: Final = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
_WANTED: Final = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "LICENSE", "conversion/", "gguf-py/gguf/")
_MOST_BYTES: Final = 16 << 20
_MOST_FILES: Final = 1_000
_LOOK_SECONDS: Final = 0.1
_BACKEND: Final = Path(__file__).with_name("pip_backend")

Progress = Callable[[int, int], None]
"""Told how many bytes of how many have arrived."""


def fetch_converter(progress: Progress = lambda *_: None, cancelled: Callable[[], bool] = lambda: False) -> Converter:
    """Return the converter, fetched if it is not there yet. Two processes at once fetch it once.

    Raises:
        ConverterMissing: There is no pip, the index cannot be reached, or what came is not what was asked for.
        WorkCancelled: `cancelled` returned true. Nothing is left behind.
        WorkspaceError: The cache cannot be written; `DiskFull` where that is why.
    """
    folder = fetched_folder()
    origin = f"llama-cpp-python {VERSION}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder.with_name(folder.name + ".lock"), cancelled):
            if not missing_parts(folder):  # another process was quicker
                return Converter(folder, origin)
            for abandoned in folder.parent.glob(f"{folder.name}.*.part"):  # by a process that was killed
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=folder.name + ".", suffix=".part", dir=folder.parent) as beside:
                archive = _download(Path(beside), progress, cancelled)
                unpacked = Path(beside) / "llama.cpp"
                unpack(archive, unpacked)
                if missing := missing_parts(unpacked):
                    raise ConverterMissing(f"{archive.name} has no {missing[0]}.", remedy=_REMEDY)
                shutil.rmtree(folder, ignore_errors=True)  # half of one: whole ones were returned above
                unpacked.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return Converter(folder, origin)


_REMEDY: Final = f"Or name a checkout with --llama-cpp-path: {CLONE}, on a machine that can, and copy it here."


def unpack(archive: Path, into: Path) -> None:
    """Write the wanted files of the source package below `into`. Links, other paths and other files are passed over.

    Raises:
        ConverterMissing: It is no archive, or holds more than the converter ever was.
        OSError: They cannot be written.
    """
    total = count = 0
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = member.name.removeprefix(_INSIDE)
                parts = name.split("/")
                wanted = name != member.name and name.startswith(_WANTED) and member.isreg()
                if not wanted or any(part in ("", ".", "..") for part in parts) or "scripts" in parts:
                    continue
                total, count = total + member.size, count + 1
                if total > _MOST_BYTES or count > _MOST_FILES:
                    raise ConverterMissing(f"{archive.name} holds more than a converter.", remedy=_REMEDY)
                content = packed.extractfile(member)
                assert content is not None  # a regular file
                path = into.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
                    file.flush()
                    os.fsync(file.fileno())
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ConverterMissing(f"{archive.name} is no archive: {error}.", remedy=_REMEDY) from error


def _download(beside: Path, progress: Progress, cancelled: Callable[[], bool]) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ConverterMissing(
            "llama.cpp's converter is fetched with pip, and this Python has none.",
            remedy=f"Give it one: {sys.executable} -m ensurepip. {_REMEDY}",
        )
    (beside / "requirements.txt").write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{_SHA256}\n", "ascii")
    (beside / "tmp").mkdir()
    arrived = beside / "archive"
    arguments = [
        *("download", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"),
        *("--no-binary", PACKAGE, "--only-binary", ":none:", "--no-input", "--progress-bar", "off"),
        *("-d", str(arrived), "-r", str(beside / "requirements.txt")),
    ]
    path = os.pathsep.join(part for part in (str(_BACKEND), os.environ.get("PYTHONPATH", "")) if part)
    environment = {"PYTHONPATH": path, "TMPDIR": str(beside / "tmp")}
    log = beside / "log"
    status = None
    for said in child.ask(
        "engine.export.pip_worker",
        [str(beside), *arguments],
        ended=lambda status, last: ConverterMissing(f"pip ended with status {status}: {last}.", remedy=_REMEDY),
        cancelled=cancelled,
        environment=environment,
        log=log,
    ):
        status = said.get("status", status)
        progress(min(said.get("bytes", 0), ARCHIVE_BYTES), ARCHIVE_BYTES)
    if status:
        raise _not_fetched(log.read_text("utf-8", errors="replace"), shutil.disk_usage(beside).free)
    archive = next(iter(sorted(arrived.glob("*.tar.gz"))), None)
    if archive is None or _hash(archive) != _SHA256:
        raise ConverterMissing(f"pip brought something else than {PACKAGE} {VERSION}.", remedy=_REMEDY)
    progress(ARCHIVE_BYTES, ARCHIVE_BYTES)
    return archive


def _not_fetched(log: str, free_bytes: int) -> EngineError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1] if lines else "nothing")
    low = log.lower()
    # On a full disk there is no room for the words that say so either.
    if "no space left" in low or "errno 28" in low or free_bytes < 1 << 20:
        import errno

        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "do not match the hashes" in low or "hash mismatch" in low:
        why = f"The index has another {PACKAGE} {VERSION} than the one this was made with"
    elif "no matching distribution" in low:
        why = f"The index pip is configured with has no {PACKAGE} {VERSION}, or cannot be reached"
    else:
        why = f"pip could not fetch {PACKAGE} {VERSION}"
    shown = re.sub(r"://[^/@\s]+@", "://", said.removeprefix("ERROR:").strip())[:200].rstrip(".")
    return ConverterMissing(
        f"{why}: {shown}.",
        remedy=f"Check the network, and `{os.path.basename(sys.executable)} -m pip config list`. {_REMEDY}",
    )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock file, waiting for who has it."""
    file: IO[bytes]
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled():
                    raise WorkCancelled from None
                time.sleep(_LOOK_SECONDS)
            except OSError:  # a file system without locks: two fetches do the same work, and one rename wins
                break
        yield
