"""Write `engine/config/*_options.json`: what TRL's trainer configurations take besides our own settings.

    python tools/option_schema.py            # write the files
    python tools/option_schema.py --print    # print all of it instead, by trainer

Run it after every update of TRL or transformers; a test compares the files with the installed libraries.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import sys
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.config.methods import CONFIG_CLASSES, TrainerName
from engine.config.trainer_options import OWNED, options_file, owned

_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_ORDER = ("boolean", "integer", "number", "string", "array", "object", "null")


def option_schema(trainer: TrainerName) -> dict[str, Any]:
    """Return the content of a trainer's file. Takes some seconds: it imports TRL."""
    import trl

    config = getattr(trl, CONFIG_CLASSES[trainer])
    hints = get_type_hints(config)
    options = []
    for field in dataclasses.fields(config):
        if field.name in owned(trainer) or not field.init:
            continue
        accepts = set(json_types(hints[field.name]))
        options.append(
            {
                "name": field.name,
                "accepts": [kind for kind in _ORDER if kind in accepts],
                "choices": [str(choice) for choice in field.metadata.get("choices", ())],
                "default": _plain(_default(field)),
                # argparse wants a doubled percent sign
                "help": " ".join(str(field.metadata.get("help", "")).replace("%%", "%").split()),
            }
        )
    versions = {package: importlib.metadata.version(package) for package in ("trl", "transformers")}
    return {"of": f"trl.{config.__name__}", "versions": versions, "options": options}


def unknown_options() -> list[str]:
    """Return what `OWNED` names and no trainer has."""
    import trl

    configs = [getattr(trl, name) for name in CONFIG_CLASSES.values()]
    return sorted(set(OWNED) - {field.name for config in configs for field in dataclasses.fields(config)})


def json_types(annotation: Any) -> Iterator[str]:
    """Yield the JSON types a value of this annotation may have. What JSON cannot hold yields nothing."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from json_types(argument)
    elif origin is Literal:
        for value in get_args(annotation):
            yield from json_types(type(value))
    elif annotation is Any:
        yield from _ORDER
    elif annotation is type(None):
        yield "null"
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield "string"
    elif (origin or annotation) in _NAMES:
        yield _NAMES[origin or annotation]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--print", action="store_true", help="print the schema instead of writing the file")
    only_print = parser.parse_args().print
    if unknown := unknown_options():
        raise SystemExit(f"OWNED names options that no trainer has: {', '.join(unknown)}")
    schemas = {trainer: option_schema(trainer) for trainer in CONFIG_CLASSES}
    if only_print:
        print(json.dumps(schemas, indent=1, ensure_ascii=False))
        return
    for trainer, schema in schemas.items():
        options_file(trainer).write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
