"""Templates rendered without transformers are rendered as transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data import templates
from engine.data.templates import TemplateEndless, TemplateMissing, TemplateRefuses, load_template, many_rendered
from engine.errors import DataError
from tests.chat_models import FAMILIES, LATER, TEMPLATES, Family, shipped_template, write_tokenizer

CHAT = [
    {"role": "user", "content": "  Who wrote “Carmen”? "},
    {"role": "assistant", "content": "Georges Bizet.\n"},
    {"role": "user", "content": "And 東京? <b>{{ x }}</b>"},
    {"role": "assistant", "content": "That is a city."},
]
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("family", [*FAMILIES, *LATER], ids=lambda family: family.name)
def test_text_and_tokens_are_those_of_transformers(family: Family, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = write_tokenizer(tmp_path / family.name, family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = load_template(folder)
    conversations = [CHAT, CHAT[:2], *([[SYSTEM, *CHAT]] if family.system else [])]
    for chat in conversations:
        for prompt in (False, True):
            messages = chat[:-1] if prompt else chat
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
            rendered = ours.render(messages, add_generation_prompt=prompt)
            assert rendered == text
            assert ours.encode(rendered) == ids
            assert ours.encode_all([rendered, "x"])[0] == ids


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.shipped], ids=lambda family: family.name)
def test_the_templates_are_those_their_publishers_ship(family: Family) -> None:
    kept = (TEMPLATES / f"{family.name}.jinja").read_text(encoding="utf-8")
    assert kept.removesuffix("\n") == shipped_template(family).removesuffix("\n")


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.system and f.name == "gemma"], ids=["gemma"])
def test_a_conversation_the_template_refuses_is_refused_with_its_own_words(family: Family, tmp_path: Path) -> None:
    ours = load_template(write_tokenizer(tmp_path / "model", family))
    with pytest.raises(TemplateRefuses, match="System role not supported"):
        ours.render([SYSTEM, *CHAT])


def test_a_template_that_loops_for_ever_is_stopped(tmp_path: Path) -> None:
    endless = (TEMPLATES / "endless.jinja").read_text()
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0], template=endless)
    with pytest.raises(TemplateEndless, match="was stopped"):
        load_template(folder, render_seconds=0.2).render(CHAT)


def test_a_model_without_a_template_says_so_and_takes_another(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "base", FAMILIES[0], template="")
    with pytest.raises(TemplateMissing, match="base has no chat template"):
        load_template(folder)
    own = (TEMPLATES / "chatml.jinja").read_text()
    assert load_template(folder, override=own).render(CHAT[:1]) == (
        "<|im_start|>user\n  Who wrote “Carmen”? <|im_end|>\n"
    )


def test_a_template_that_is_no_jinja_is_told_by_its_mistake(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    with pytest.raises(DataError, match="no valid Jinja"):
        load_template(folder, override="{% for m in messages %}")


def test_a_template_reads_nothing_but_what_it_is_given(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TemplateRefuses):
        load_template(folder, override=escape).render(CHAT)


def test_marks_are_known_from_tokenizer_and_template(tmp_path: Path) -> None:
    by_name = {family.name: family for family in FAMILIES}
    mistral = load_template(write_tokenizer(tmp_path / "mistral", by_name["mistral"]))
    assert mistral.controls.search("as [INST] is")
    assert mistral.controls.search("end</s>")
    gemma = load_template(write_tokenizer(tmp_path / "gemma", by_name["gemma"]))
    assert gemma.controls.search("a <end_of_turn> b")
    assert not gemma.controls.search("1 < 2 and [x] of it")


def test_one_of_many_that_loops_for_ever_is_stopped_and_the_others_are_not(tmp_path: Path) -> None:
    endless = (TEMPLATES / "endless.jinja").read_text()
    good = load_template(write_tokenizer(tmp_path / "good", FAMILIES[0]))
    bad = load_template(write_tokenizer(tmp_path / "bad", FAMILIES[0], template=endless))
    with many_rendered(0.2):
        for _ in range(3):
            assert good.render(CHAT)
            with pytest.raises(TemplateEndless):
                bad.render(CHAT)


@pytest.mark.parametrize(
    "huge",
    [
        "{{ 'a' * 3000000000 }}",
        "{{ 3000000000 * 'a' }}",
        "{{ 2 ** 99999999999 }}",
        "{{ 'a'.ljust(3000000000) }}",
        "{{ 'a'|center(3000000000) }}",
        "{{ '%3000000000d'|format(1) }}",
        "{{ '%*d' % (3000000000, 1) }}",
        "{{ '%.3000000000f' % 1 }}",
        "{{ '{:>3000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 3000000000) }}",
        "{{ '{x:{w}}'.format_map({'w': '3000000000', 'x': 1}) }}",
        "{{ [1]|batch(3000000000, 0)|list }}",
    ],
)
def test_a_text_of_gigabytes_is_refused_before_it_is_made(huge: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    with pytest.raises(TemplateRefuses, match="makes something too large"):
        load_template(folder, override=huge).render(CHAT)
    assert load_template(folder, override="{{ '-' * 3 }}{{ 2 * 3 }}{{ 'a'.ljust(3) }}").render(CHAT) == "---6a  "
    # A large number that is written is no width.
    said = "{{ '%s' % 3000000000 }} {{ '%d, %s'|format(3000000000, '9999999999') }} {{ '{}'.format(3000000000) }}"
    assert load_template(folder, override=said).render(CHAT) == "3000000000 3000000000, 9999999999 3000000000"


@pytest.mark.parametrize("fails", ["{{ 1 / 0 }}", "{{ '{w}'.format() }}", "{{ '{}'.format() }}", "{{ 5|random }}"])
def test_what_a_template_ends_with_is_a_refusal(fails: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateRefuses):
        load_template(write_tokenizer(tmp_path / "model", FAMILIES[0]), override=fails).render(CHAT)


def test_what_a_template_may_write_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_RENDERED", 20)
    folder = write_tokenizer(tmp_path / "model", FAMILIES[0])
    with pytest.raises(TemplateRefuses, match=r"it writes \d+ characters"):
        load_template(folder).render(CHAT)
