"""A list of stages as it is written: what goes over what, what is refused and where, and that it can be read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config.automatic import Facts
from engine.config.check import Setting
from engine.config.difference import differences, values_of
from engine.config.load import GivenConfig, loads
from engine.config.resolved import ResolvedConfig, resolve
from engine.errors import ConfigError
from engine.workspace import Workspace

TEXT = """\
model:
  name: tiny
dpo:
  beta: 0.3
training:
  seed: 7
stages:
  - data:
      train: answers.jsonl
  - method:
      name: dpo
    data:
      train: pairs.jsonl
    training:
      learning_rate: 1e-5
"""


def values(given: GivenConfig, key: str) -> dict[str, Any]:
    return {name: part.settings[key].value if key in part.settings else None for name, part in given.parts()}


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        loads(text, "run.yaml").check()
    return list(refused.value.problems)


def test_what_stands_in_a_stage_goes_over_what_stands_outside() -> None:
    given = loads(TEXT + "      seed: 8\n", "run.yaml")
    given.check()
    assert values(given, "training.seed") == {"sft": 7, "dpo": 8}
    assert values(given, "data.train") == {"sft": "answers.jsonl", "dpo": "pairs.jsonl"}


def test_what_is_set_for_a_method_reaches_the_stages_of_that_method() -> None:
    assert values(loads(TEXT, "run.yaml"), "dpo.beta") == {"sft": None, "dpo": 0.3}
    assert "stage dpo: kto.beta is for method.name kto, and it is dpo (run.yaml:4)" in problems(
        TEXT.replace("dpo:\n", "kto:\n", 1)
    )


def test_a_stage_may_be_a_method_or_a_preset() -> None:
    text = "data: {train: rows.jsonl}\nstages:\n  - sft\n  - name: prefer\n    preset: demo-stance\n"
    given = loads(text, "run.yaml")
    assert [name for name, _ in given.parts()] == ["sft", "prefer"]
    assert values(given, "method.name") == {"sft": "sft", "prefer": "dpo"}
    # What is written goes over every preset, and the preset's model and adapter are the run's.
    assert values(given, "data.train") == {"sft": "rows.jsonl", "prefer": "rows.jsonl"}
    assert values(given, "lora.r") == {"sft": 16, "prefer": 16}


def test_a_file_may_fill_in_the_stages_of_a_preset() -> None:
    text = "preset: sft-then-dpo\nmodel: {name: tiny}\ntraining: {seed: 5}\nstages:\n"
    by_name = loads(text + "  - name: sft\n    data: {train: a}\n  - name: dpo\n    data: {train: b}\n", "run.yaml")
    by_place = loads(text + "  - data: {train: a}\n  - data: {train: b}\n", "run.yaml")
    for given in (by_name, by_place):
        given.check()
        assert values(given, "data.train") == {"sft": "a", "dpo": "b"}
        assert values(given, "model.name") == {"sft": "tiny", "dpo": "tiny"}
        assert values(given, "training.seed") == {"sft": 5, "dpo": 5}
        assert values(given, "training.learning_rate") == {"sft": 2e-4, "dpo": 5e-6}


def test_an_option_is_for_all_stages_or_for_one() -> None:
    given = loads(TEXT, "run.yaml")
    assert values(given.override(["training.learning_rate=1e-3"]), "training.learning_rate") == {
        "sft": 1e-3, "dpo": 1e-3,
    }  # fmt: skip
    for key in ("stages.dpo.training.seed=9", "stages.2.training.seed=9"):
        assert values(given.override([key]), "training.seed") == {"sft": 7, "dpo": 9}
    with pytest.raises(ConfigError, match=r"stages.dpo is no setting; write stages.NAME.section.key=value \(--set\)"):
        given.override(["stages.dpo=3"]).check()
    with pytest.raises(ConfigError, match=r"there is no stage rl; the stages are sft, dpo \(--set\)"):
        given.override(["stages.rl.training.seed=9"]).check()


def test_a_quick_test_learns_from_the_small_file_of_each_stage() -> None:
    quick = loads(TEXT.replace("data:\n", "data:\n      dev: small.jsonl\n"), "run.yaml").for_dev()
    assert values(quick, "data.train") == {"sft": ["small.jsonl"], "dpo": ["small.jsonl"]}
    with pytest.raises(ConfigError, match=r"data\.dev names no file"):
        loads(TEXT, "run.yaml").for_dev()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("1e-5", "fast",
         'stage dpo: training.learning_rate must be a number above 0 up to 1, not "fast" (run.yaml:15)'),
        ("train: pairs", "trian: pairs",
         "stage dpo: data.trian is not a setting; did you mean data.train? (run.yaml:13)"),
        ("seed: 7", "sead: 7", "training.sead is not a setting; did you mean training.seed? (run.yaml:6)"),
        ("  - method:", "  - name: final\n    method:",
         'stages: "final" cannot be the name of a stage: small letters, '
         "digits and _, a letter first; not best, final or start (run.yaml:10)"),
        ("  - method:", "  - name: sft\n    method:",
         "stages: two are called sft; give them a name (run.yaml:8, run.yaml:10)"),
        ("    training:", "    lora:", "stages: lora.learning_rate stands in dpo, but a run has one lora for all its "
         "stages; write it outside of them (run.yaml:15)"),
        ("name: dpo", "name: npo", "stages: npo is no first stage, and npo compares with the base, the adapter off, "
         "where it does not begin; make it the first (run.yaml:11)"),
        ("      train: answers.jsonl\n", "      limit: 5\n", "stage sft: data.train names no file to learn from"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_stage_and_its_line(old: str, new: str, problem: str) -> None:
    assert problem in problems(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("stages: []\n", "stages must be a list of stages, each a method or sections of settings (run.yaml:1)"),
        ("stages: dpo\n", "stages must be a list of stages, each a method or sections of settings (run.yaml:1)"),
        ("stages:\n  sft: {}\n", "stages must be a list of stages, each a method or sections of settings (run.yaml:1)"),
        ("stages:\n  - 3\n  - sft\n", "stages: 3 is neither a method nor sections of settings (run.yaml:2)"),
        ("stages:\n  - name: [a]\n", "stages: the name of a stage must be a text, not [a] (run.yaml:2)"),
        ("stages:\n  - preset: sft-then-dpo\n",
         "stages: a preset of several stages cannot be one of them (run.yaml:2)"),
        ("stages:\n  - preset: none-such\n", "There is no preset 'none-such' (run.yaml:2)"),
        ("stages:\n" + "  - sft\n" * 33, "stages has 33 entries; there may be 32"),
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(written: str, problem: str) -> None:
    assert any(one.startswith(problem) for one in problems(written))


def test_a_runs_own_file_holds_every_setting_of_every_stage_and_is_read_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in ("answers.jsonl", "pairs.jsonl"):
        (tmp_path / name).touch()
    stages = tuple((name, resolve(part, Facts(100), workspace)) for name, part in loads(TEXT, "run.yaml").parts())
    written = ResolvedConfig(stages[0][1].config, stages[0][1].sources, stages).to_yaml()
    read = ResolvedConfig.from_yaml(written)
    assert [name for name, _ in read.stages] == ["sft", "dpo"]
    for (_, before), (_, after) in zip(stages, read.stages, strict=True):
        assert after.config == before.config
        assert after.sources == before.sources
    assert read.to_yaml() == written
    again = loads(written, "run.yaml")  # as a configuration, too
    again.check()
    assert values(again, "training.learning_rate") == {"sft": 2e-4, "dpo": 1e-5}


def test_stages_that_differ_are_told_apart() -> None:
    before = values_of(loads(TEXT, "run.yaml"))
    after = values_of(loads(TEXT, "run.yaml").override(["stages.dpo.training.seed=9"]))
    assert [(one.key, one.before, one.after) for one in differences(before, after)] == [
        ("stages.dpo.training.seed", 7, 9)
    ]


def test_a_configuration_laid_over_another_takes_its_stages_with_it() -> None:
    below = loads(TEXT, "run.yaml")
    over = GivenConfig({"training.seed": Setting(1, "form")}).over(below)
    assert values(over, "training.seed") == {"sft": 1, "dpo": 1}


def test_an_adapter_beside_another_is_for_a_run_of_one_stage() -> None:
    text = "data: {train: rows.jsonl}\nmodel: {adapter: first, adapter_mode: stack}\nstages: [sft, refusal]\n"
    with pytest.raises(ConfigError, match="both adapters as one"):
        loads(text, "run.yaml").check()
