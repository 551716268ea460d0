"""The declaration, as data: one `Setting` per key of `RunConfig`, for documents, forms and error messages."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from engine.config.model import RunConfig, Section

TRAINER = "trainer"
"""The one section whose keys are not declared here but by TRL; see `engine.config.trainer_options`."""


class Setting(NamedTuple):
    """One key of the configuration."""

    key: str
    """`section.name`."""
    section: str
    name: str
    accepts: str
    """What may be written, in words: "a whole number from 1, or auto"."""
    default: Any
    description: str
    """Unit, meaning, and what null and auto mean."""
    automatic: bool
    """Whether "auto" may be written."""
    choices: tuple[Any, ...]
    """The values of a closed choice, "auto" and null included; empty when the choice is open."""


@functools.cache
def settings() -> Mapping[str, Setting]:
    """Return every declared setting by its key, in the order of the declaration."""
    found: dict[str, Setting] = {}
    for section, model in sections().items():
        for name, field in model.model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            accepts = str(extra.get("accepts") or in_words(_annotation(field)))
            found[f"{section}.{name}"] = Setting(
                key=f"{section}.{name}",
                section=section,
                name=name,
                accepts=accepts,
                default=field.default,
                description=field.description or "",
                automatic="auto" in accepts,
                choices=_choices(field.annotation),
            )
    return found


@functools.cache
def sections() -> Mapping[str, type[Section]]:
    """Return the declared sections, in order; `trainer` is not among them."""
    return {
        name: field.annotation
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def section_help(section: str) -> str:
    """Return the sentence that says what a section is about."""
    if section == TRAINER:
        return RunConfig.model_fields[TRAINER].description or ""
    return (sections()[section].__doc__ or "").strip()


def in_words(annotation: Any) -> str:
    """Return what a value of this type looks like: `int | None` with `Ge(1)` is "a whole number from 1 or null"."""
    parts = _alternatives(annotation)
    # "auto" and null are said last: they are the exceptions.
    parts.sort(key=lambda part: (part == "auto", part == "null"))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _annotation(field: FieldInfo) -> Any:
    constraints = tuple(m for m in field.metadata if isinstance(m, Ge | Gt | Le | Lt))
    return Annotated[(field.annotation, *constraints)] if constraints else field.annotation


def _alternatives(annotation: Any, constraints: tuple[Any, ...] = ()) -> list[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(arguments[0], tuple(arguments[1:]))
    if origin in (Union, types.UnionType):
        return [part for argument in arguments for part in _alternatives(argument)]
    if origin is Literal:
        return [_word(value) for value in arguments]
    if annotation is None or annotation is type(None):
        return ["null"]
    if annotation is bool:
        return ["true", "false"]
    if annotation is int:
        return ["a whole number" + _range(constraints)]
    if annotation is float:
        return ["a number" + _range(constraints)]
    if annotation is str:
        return ["a text"]
    if origin is list:
        inner = _alternatives(arguments[0])
        return [f"a list of {'texts' if inner == ['a text'] else ', '.join(inner)}"]
    raise TypeError(f"{annotation!r} needs an `accepts` of its own in json_schema_extra")


def _word(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(constraints: tuple[Any, ...]) -> str:
    said = ""
    for bound in constraints:
        match bound:
            case Ge(ge=low):
                said += f" from {low}"
            case Gt(gt=low):
                said += f" above {low}"
            case Le(le=high):
                said += f" up to {high}"
            case Lt(lt=high):
                said += f" up to below {high}"
            case _:
                pass
    return said


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values when the annotation is made of literals, booleans and null alone."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return arguments
    if annotation is bool:
        return (True, False)
    if annotation is type(None):
        return (None,)
    if origin in (Union, types.UnionType):
        parts = [_choices(argument) for argument in arguments]
        return tuple(value for part in parts for value in part) if all(parts) else ()
    return ()
