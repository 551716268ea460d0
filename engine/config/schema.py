"""The configuration file as JSON Schema, for editors that complete and check YAML.

python -m engine.config.schema > ftconsole.schema.json
"""

from __future__ import annotations

import json
from typing import Any

from engine.config import trainer_options
from engine.config.declaration import TRAINER
from engine.config.load import PRESET
from engine.config.methods import METHODS
from engine.config.model import RunConfig
from engine.config.presets import presets
from engine.config.stages import MOST_STAGES, SHARED
from engine.config.yaml_text import STAGES


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file, `trainer`'s options and `preset` included."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"][PRESET] = {
        "description": "A preset below these settings.",
        "enum": [*(preset.name for preset in presets()), None],
    }
    schema["properties"][TRAINER] = {
        "type": "object",
        "description": RunConfig.model_fields[TRAINER].description,
        "additionalProperties": False,
        "properties": {name: _option(option) for name, option in trainer_options.options().items()},
    }
    for section in schema["$defs"].values():
        section["properties"] = {name: _field(field) for name, field in section["properties"].items()}
    data = schema["$defs"]["DataSection"]["properties"]
    # One path may stand for a list of one, and validation sets have three forms: the model takes them all.
    data["train"] = _also(data["train"], {"type": "string"})
    data["validation"] = _also(data["validation"], {"type": ["string", "array", "null"]})
    own = [name for name in schema["properties"] if name not in (PRESET, *SHARED)]
    entry = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$", "description": "Of the stage."},
            PRESET: schema["properties"][PRESET],
            **{name: schema["properties"][name] for name in own},
        },
    }
    schema["properties"][STAGES] = {
        "description": "Stages of one run, each over the settings outside of it.",
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_STAGES,
        "items": {"anyOf": [{"enum": list(METHODS)}, entry]},
    }
    return schema


def _field(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in ("title", "accepts")}


def _also(field: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {key: field.pop(key) for key in ("description", "default") if key in field}
    return {"anyOf": [field, other], **about}


def _option(option: trainer_options.Option) -> dict[str, Any]:
    kinds: dict[str, Any] = {"type": list(option.accepts)}
    if option.choices:
        kinds = {"enum": [*option.choices, *([None] if "null" in option.accepts else [])]}
    return {**kinds, "default": option.default, "description": option.help}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
