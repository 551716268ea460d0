"""llama.cpp's converter: which one is used, and fetching it."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.child import WorkCancelled
from engine.errors import NotFound
from engine.export import converter_fetch
from engine.export.converter import VERSION, Converter, fetched_folder, find_converter
from engine.export.converter_fetch import fetch_converter, unpack
from engine.export.failures import ConverterMissing, ConverterUnusable
from tests.engine.faults import python, small_disk

INSIDE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
PARTS = {
    "convert_hf_to_gguf.py": "from conversion import x",
    "convert_lora_to_gguf.py": "",
    "conversion/__init__.py": "",
    "conversion/base.py": "",
    "gguf-py/gguf/__init__.py": "",
    "LICENSE": "MIT",
}


def lay(folder: Path, without: str = "") -> Path:
    """Write a converter of empty files, without one of them."""
    for name, text in PARTS.items():
        if name != without:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def pack(path: Path, members: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> Path:
    """Write an archive; a member is a file's content, or an entry of another kind."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def source_package(path: Path, parts: dict[str, str] = PARTS) -> Path:
    """Write what stands for the source package of llama-cpp-python."""
    about = f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n"
    backend = '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    outer = f"llama_cpp_python-{VERSION}"
    files = [(f"{outer}/PKG-INFO", about), (f"{outer}/pyproject.toml", backend)]
    files += [(f"{INSIDE}/{name}", text) for name, text in parts.items()]
    return pack(path, [(name, text.encode()) for name, text in files])


def test_what_the_user_names_comes_before_the_variable_and_that_before_the_cache(tmp_path: Path) -> None:
    named, variable = lay(tmp_path / "named"), lay(tmp_path / "variable")
    environ = {"LLAMA_CPP_DIR": str(variable), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    kept = lay(fetched_folder(environ))
    assert find_converter(str(named), environ) == Converter(named, "--llama-cpp-path")
    assert find_converter(None, environ) == Converter(variable, "$LLAMA_CPP_DIR")
    del environ["LLAMA_CPP_DIR"]
    assert find_converter(None, environ) == Converter(kept, f"llama-cpp-python {VERSION}")
    (kept / "conversion" / "base.py").unlink()
    assert find_converter(None, environ) is None


def test_an_unpacked_source_package_is_a_checkout_too(tmp_path: Path) -> None:
    lay(tmp_path / "vendor" / "llama.cpp")
    found = find_converter(str(tmp_path), {})
    assert found is not None
    assert found.folder == tmp_path / "vendor" / "llama.cpp"


@pytest.mark.parametrize("part", ["gguf-py/gguf/__init__.py", "conversion/base.py", "convert_lora_to_gguf.py"])
def test_half_a_checkout_is_refused_by_name(part: str, tmp_path: Path) -> None:
    with pytest.raises(ConverterUnusable) as raised:
        find_converter(str(lay(tmp_path / "half", without=part)), {})
    assert part in raised.value.message


def test_a_folder_without_a_converter_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConverterUnusable, match=r"no convert_hf_to_gguf\.py"):
        find_converter(str(tmp_path), {})
    with pytest.raises(NotFound):
        find_converter(str(tmp_path / "none"), {})


def test_only_the_converter_is_unpacked_and_nothing_beside_the_folder(tmp_path: Path) -> None:
    link = tarfile.TarInfo(f"{INSIDE}/conversion/link.py")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = pack(
        tmp_path / "x.tar.gz",
        [
            (f"{INSIDE}/convert_hf_to_gguf.py", b"print()"),
            (f"{INSIDE}/conversion/../../../../../../escaped", b"bad"),
            (f"{INSIDE}/conversion//absolute", b"bad"),
            (f"{INSIDE}/src/llama.cpp", b"not wanted"),
            (f"{INSIDE}/gguf-py/gguf/scripts/gui.py", b"not wanted"),
            ("/conversion/base.py", b"bad"),
            ("x", link),
        ],
    )
    unpack(archive, tmp_path / "into" / "here")
    assert [path.name for path in (tmp_path / "into").rglob("*") if path.is_file()] == ["convert_hf_to_gguf.py"]
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_that_holds_more_than_a_converter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter_fetch, "_MOST_BYTES", 100)
    archive = pack(tmp_path / "x.tar.gz", [(f"{INSIDE}/conversion/a.py", b"x" * 101)])
    with pytest.raises(ConverterMissing, match="more than a converter"):
        unpack(archive, tmp_path / "into")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"<html>")
    with pytest.raises(ConverterMissing, match="no archive"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "into")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with a small source package in it, and a cache of one's own."""
    folder = tmp_path / "index"
    folder.mkdir()
    archive = source_package(folder / f"llama_cpp_python-{VERSION}.tar.gz")
    monkeypatch.setattr(converter_fetch, "_SHA256", converter_fetch._hash(archive))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def left(tmp_path: Path) -> list[str]:
    cache = tmp_path / "cache" / "ftconsole"
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock")) if cache.is_dir() else []


def test_it_is_fetched_once_through_pip_however_many_want_it(index: Path, tmp_path: Path) -> None:
    abandoned = fetched_folder().with_name(f"llama.cpp-{VERSION}.killed.part")
    abandoned.mkdir(parents=True)
    found: list[Converter] = []
    threads = [threading.Thread(target=lambda: found.append(fetch_converter())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Converter(fetched_folder(), f"llama-cpp-python {VERSION}")] * 2
    assert found == [find_converter(None)] * 2
    assert left(tmp_path) == [f"llama.cpp-{VERSION}"]
    assert (fetched_folder() / "LICENSE").read_text() == "MIT"


def test_a_package_of_another_hash_is_refused_and_nothing_is_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter_fetch, "_SHA256", "0" * 64)
    with pytest.raises(ConverterMissing, match="another llama-cpp-python"):
        fetch_converter()
    assert left(tmp_path) == []


def test_an_index_without_it_is_a_sentence_that_names_no_password(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(index.iterdir()).unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://ada:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ConverterMissing) as raised:
        fetch_converter()
    assert "cannot be reached" in raised.value.message
    assert "--llama-cpp-path" in raised.value.remedy
    assert "secret" not in str(raised.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("room", ["8k", "24k"], ids=["before it has arrived", "while it is unpacked"])
def test_a_disk_that_becomes_full_is_told_and_nothing_is_left(index: Path, tmp_path: Path, room: str) -> None:
    said = python(
        """
        import os, sys
        from engine.errors import EngineError
        from engine.export import converter_fetch
        converter_fetch._SHA256 = sys.argv[2]
        try:
            converter_fetch.fetch_converter()
        except EngineError as error:
            print(error.code, [name for name in os.listdir(sys.argv[1]) if not name.endswith(".lock")])
        """,
        tmp_path / "cache" / "ftconsole",
        converter_fetch._SHA256,
        before=small_disk(tmp_path / "cache" / "ftconsole", f"size={room}"),
    )
    assert said.stdout == "disk-full []\n", said.stdout + said.stderr[-2000:]


def test_a_cancelled_fetch_leaves_nothing(index: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkCancelled):
        fetch_converter(cancelled=lambda: True)
    assert left(tmp_path) == []


def test_a_python_without_pip_says_how_to_give_it_one(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConverterMissing, match="has none") as raised:
        fetch_converter()
    assert "ensurepip" in raised.value.remedy
    assert left(tmp_path) == []
