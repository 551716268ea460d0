"""The JSON Schema for editors."""

from __future__ import annotations

import json

from engine.config.declaration import sections
from engine.config.schema import json_schema
from engine.config.trainer_options import options


def test_the_schema_has_every_section_and_the_preset() -> None:
    schema = json_schema()
    assert schema["properties"].keys() == {*sections(), "trainer", "preset", "stages"}
    assert schema["additionalProperties"] is False
    assert schema["properties"]["trainer"]["properties"].keys() == options().keys()


def test_every_setting_has_its_description() -> None:
    for section in json_schema()["$defs"].values():
        assert section["additionalProperties"] is False
        for name, field in section["properties"].items():
            assert field["description"], name
            assert "accepts" not in field


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(json_schema(), allow_nan=False)) == json_schema()
