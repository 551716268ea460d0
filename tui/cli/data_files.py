"""`ftconsole data convert` and `split`: write rows in another form, or in two files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.data.converting import FORMS, Form, convert
from engine.data.files import counts_lines
from engine.data.row import Problem
from engine.data.splitting import parse_share, split
from engine.errors import UsageError
from engine.workspace import Workspace, named_path
from tui.cli import output
from tui.display import plain

_SHOWN = 20


def convert_file(
    workspace: str | None, file: str, out: str, form: str, *, maps: Sequence[str], force: bool, as_json: bool
) -> int:
    """Write the rows of a file in one form and say what became of each.

    Raises:
        UsageError: There is no such form, or a `--map` is not FIELD=COLUMN.
        EngineError: Anything `engine.data.converting.convert` refuses; then nothing was written.
    """
    place = Workspace.find(workspace)
    done = convert(
        place.data_files(file, "train"),
        named_path(out),
        _form(form),
        mapping=mapping_of(maps),
        overwrite=force,
    )
    if as_json:
        output.emit(
            {
                "path": out,
                "form": form,
                "rows_in": done.rows_in,
                "rows_written": done.rows_written,
                "left_out": [_as_dict(problem) for problem in done.left_out],
                "read_as": {
                    str(path): {"shape": found.shape, "kind": found.kind, "columns": found.columns}
                    for path, found in done.read_as.items()
                },
            }
        )
        return 0
    for path, found in done.read_as.items():
        columns = ", ".join(f"{field}: {column}" for field, column in found.columns.items())
        output.out(f"{plain(path.name)} was read as {found.shape} ({plain(columns)}).")
    output.out(f"{done.rows_written} of {done.rows_in} rows written to {plain(out)} as {form}.", style="good")
    _list(done.left_out)
    return 0


def split_file(
    workspace: str | None, file: str, validation: str, seed: int, *, folder: str | None, force: bool, as_json: bool
) -> int:
    """Write a file to train on and one to measure with.

    Raises:
        EngineError: Anything `engine.data.splitting.split` refuses; then nothing was written.
    """
    place = Workspace.find(workspace)
    share = parse_share(validation)
    sources = place.data_files(file, "train")
    stem = _stem(sources[0].name)
    into = named_path(folder) if folder is not None else sources[0].parent
    train, measured = into / f"{stem}.train.jsonl", into / f"{stem}.val.jsonl"
    done = split(sources, train, measured, share=share, seed=seed, overwrite=force)
    if as_json:
        output.emit(
            {
                "train": str(done.train),
                "validation": str(done.validation),
                "rows_in": done.rows_in,
                "rows_train": done.rows_train,
                "rows_validation": done.rows_validation,
                "left_out": [_as_dict(problem) for problem in done.left_out],
                "dataset_types": {kind: list(counts) for kind, counts in done.kinds.items()},
            }
        )
        return 0
    output.out(f"{done.rows_train} rows in {plain(str(done.train))}")
    output.out(f"{done.rows_validation} rows in {plain(str(done.validation))}")
    for kind, (learned, held_out) in sorted(done.kinds.items()):
        output.out(f"  {plain(kind)}: {learned} and {held_out}")
    _list(done.left_out)
    return 0


def mapping_of(maps: Sequence[str]) -> dict[str, str]:
    """Return `--map FIELD=COLUMN` options as a mapping.

    Raises:
        UsageError: One is not of this form, or they make no rows.
    """
    mapping: dict[str, str] = {}
    for text in maps:
        field, equals, column = text.partition("=")
        if not equals or not field.strip() or not column:
            raise UsageError(f"--map takes FIELD=COLUMN, not {text[:60]!r}.", remedy="Such as --map prompt=question.")
        mapping[field.strip()] = column
    if mapping:
        from engine.data.shapes import from_mapping

        try:
            from_mapping(mapping)
        except ValueError as error:
            raise UsageError(f"--map: {error}.", remedy="docs/command-line.md lists the fields.") from None
    return mapping


def as_setting(mapping: Mapping[str, str]) -> str:
    """Return a mapping as a configuration and `--set data.mapping=...` take it, in one line of YAML."""
    from engine.config.yaml_text import write_value

    return write_value(dict(mapping))


def _form(text: str) -> Form:
    found = next((form for form in FORMS if form == text), None)
    if found is None:
        raise UsageError(f"--to takes {', '.join(FORMS)}, not {text[:40]!r}.", remedy="Choose one of them.")
    return found


def _stem(name: str) -> str:
    """Return a file's name without its endings and without what another split called it."""
    from engine.data.places import without_ending

    stem = without_ending(name)
    return stem.removesuffix(".train") or stem


def _list(problems: Sequence[Problem]) -> None:
    if not problems:
        return
    output.out(f"{len(problems)} left out:", style="warning")
    for problem in problems[:_SHOWN]:
        unit = "line" if counts_lines(problem.path) else "row"
        output.out(f"  {unit} {problem.line}: {plain(problem.reason)}")
    if len(problems) > _SHOWN:
        output.out(f"  and {len(problems) - _SHOWN} more; --json lists all")


def _as_dict(problem: Problem) -> dict[str, str | int]:
    return {"path": str(problem.path), "line": problem.line, "reason": problem.reason}
