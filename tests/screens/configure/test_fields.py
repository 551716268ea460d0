"""The fields of the form: everything that is declared, and nothing besides."""

from __future__ import annotations

import pytest

from engine.config import trainer_options
from engine.config.declaration import settings
from screens.configure.draft import Draft
from screens.configure.fields import Field, Heading, Value, differing, fields, listed, value_of


def keys(draft: Draft, **how: object) -> list[str]:
    rows = listed(draft.reading, {}, **how)  # type: ignore[arg-type]
    return [row.key for row in rows if isinstance(row, Field)]


def test_every_declared_setting_and_every_option_of_the_trainer_is_a_field() -> None:
    wanted = {"preset", *settings(), *(f"trainer.{name}" for name in trainer_options.options())}
    assert set(fields()) == wanted
    assert keys(Draft()) == list(fields())
    assert all(field.description and field.accepts for field in fields().values())


def test_every_choice_is_accepted_by_the_check() -> None:
    for field in fields().values():
        for choice in field.choices:
            draft = Draft("data: {train: a.jsonl, validation: b.jsonl}\n").put(field.key, choice)
            assert [
                wrong for key, wrong in draft.reading.wrong.items() if key == field.key and "must be" in wrong
            ] == []


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("lr", "training.learning_rate"),
        ("lora_rank", "lora.r"),
        ("adam beta2", "trainer.adam_beta2"),
        ("given", "training.seed"),
        ("wrong", "data.train"),
        ("batch_size !eval", "training.per_device_train_batch_size"),
    ],
)
def test_a_search_finds_settings_by_name_description_origin_and_other_tools_names(query: str, first: str) -> None:
    assert keys(Draft("training:\n  seed: 3\n"), query=query)[0] == first


def test_a_folded_section_lists_what_is_written_and_a_search_unfolds_it() -> None:
    draft = Draft("trainer:\n  adam_beta2: 0.9\n")
    folded = listed(draft.reading, {}, folded=frozenset({"trainer"}))
    heading = next(row for row in folded if isinstance(row, Heading) and row.section == "trainer")
    assert heading.folded == len(trainer_options.options()) - 1
    assert folded[-1] == fields()["trainer.adam_beta2"]
    assert "trainer.adam_beta1" in keys(draft, folded=frozenset({"trainer"}), query="adam beta1")


def test_a_value_says_where_it_comes_from() -> None:
    reading = Draft("preset: demo\ntraining:\n  seed: 3\n  warmup_steps: auto\n").reading
    settled = {
        "training.warmup_steps": Value(12, "automatic", "a tenth of the examples"),
        "training.seed": Value(99, "given", "of another draft"),
    }

    def of(key: str) -> Value:
        return value_of(fields()[key], reading, settled)

    assert of("training.seed") == Value(3, "given", "form:3")
    assert of("training.warmup_steps") == Value(12, "automatic", "a tenth of the examples")
    assert of("lora.r") == Value(16, "preset", "demo")
    assert of("model.dtype").kind == "automatic"
    assert of("training.weight_decay") == Value(0.0, "default")


def test_what_is_left_to_be_decided_on_both_sides_does_not_differ() -> None:
    reading = Draft("training:\n  seed: 3\n").reading
    settled = {"model.dtype": Value("float32", "automatic", "on CPU")}
    assert differing(reading, settled, {"model.dtype": "auto", "lora.r": 16}) == {"training.seed", "lora.r"}
    assert "model.dtype" in differing(reading, settled, {"model.dtype": "bfloat16"})
