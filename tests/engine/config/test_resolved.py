"""run.yaml: every value settled, with its source, and readable again."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import yaml

from engine.config.automatic import Facts
from engine.config.declaration import settings
from engine.config.load import GivenConfig, loads, preset
from engine.config.resolved import ResolvedConfig, Source, resolve
from engine.errors import ConfigError, NotFound
from engine.workspace import Workspace

FACTS = Facts(106, num_parameters=4_000_000, validation_prompts=("Who wrote Carmen?",))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a model and two data files, and a current folder elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "workspace"
    (folder / "models" / "mine").mkdir(parents=True)
    (folder / "models" / "mine" / "config.json").write_text("{}")
    (folder / "datasets").mkdir()
    for name in ("a.jsonl", "v.jsonl"):
        (folder / "datasets" / name).write_text('{"instruction": "?", "output": "!"}\n')
    return Workspace(folder)


def given(*lines: str) -> GivenConfig:
    return loads("\n".join(["model:", "  name: mine", "data:", "  train: datasets/a.jsonl", *lines]), "my.yaml")


VALIDATION = "  validation: datasets/v.jsonl"


def test_nothing_is_auto_and_everything_has_a_source(workspace: Workspace) -> None:
    resolved = resolve(given(), FACTS, workspace)
    assert resolved.sources.keys() == settings().keys()
    assert all(value != "auto" for _, value, _ in resolved.values())


def test_each_value_says_where_it_came_from(workspace: Workspace) -> None:
    written = loads("preset: domain-voice\nmodel:\n  name: mine\ndata:\n  train: datasets/a.jsonl\n", "my.yaml")
    sources = resolve(written.override(["training.seed=7"]), FACTS, workspace).sources
    assert sources["model.name"] == Source("given", "my.yaml:3")
    assert sources["training.seed"] == Source("given", "--set")
    assert sources["lora.r"] == Source("preset", "domain-voice")
    assert sources["data.packing"] == Source("default")
    assert sources["data.max_length"] == Source("automatic", "106 examples: 100 to 499 -> 640")


def test_auto_that_was_written_is_automatic(workspace: Workspace) -> None:
    assert resolve(given("lora:", "  r: auto"), FACTS, workspace).sources["lora.r"].kind == "automatic"


def test_run_yaml_reads_back_as_the_same_with_its_sources(workspace: Workspace) -> None:
    resolved = resolve(given("trainer:", "  adam_beta1: 0.8", "  lr_scheduler_kwargs: {}"), FACTS, workspace)
    assert ResolvedConfig.from_yaml(resolved.to_yaml()) == resolved


def test_run_yaml_loads_again_as_input_with_the_same_values(workspace: Workspace) -> None:
    resolved = resolve(given("lora:", "  r: 8"), FACTS, workspace)
    again = loads(resolved.to_yaml(), "run.yaml")
    assert again.check() == resolved.config
    assert resolve(again, Facts(5000, device="cpu"), workspace).config == resolved.config


def test_run_yaml_is_the_same_to_a_reader_of_yaml_1_1(workspace: Workspace) -> None:
    resolved = resolve(given("trainer:", "  adam_epsilon: 1e-7"), FACTS, workspace)
    assert yaml.safe_load(resolved.to_yaml()) == resolved.config.model_dump()


def test_every_line_of_run_yaml_says_its_source(workspace: Workspace) -> None:
    text = resolve(given("lora:", "  r: 8"), FACTS, workspace).to_yaml()
    assert "\n  r: 8  # given: my.yaml:6\n" in text
    assert "\n  lora_alpha: 16  # automatic: twice the rank 8\n" in text
    assert "\n  lora_dropout: 0.05  # default\n" in text


PIECES = [
    "a",
    "é",
    "😀",
    '"',
    "\\",
    "#",
    ":",
    "- ",
    "\n",
    "\t",
    "\x1b[2J",
    "\u202e",
    "{",
    "]",
    "'",
    "no",
    " ",
    "\x85",
    "%",
]


@pytest.mark.parametrize("seed", range(40))
def test_prompts_of_any_kind_survive(workspace: Workspace, seed: int) -> None:
    chance = random.Random(seed)
    texts = ["".join(chance.choices(PIECES, k=chance.randint(1, 60))) for _ in range(chance.randint(1, 6))]
    resolved = resolve(given(VALIDATION), FACTS._replace(validation_prompts=tuple(texts)), workspace)
    text = resolved.to_yaml()
    assert all(line.isprintable() for line in text.splitlines())
    assert ResolvedConfig.from_yaml(text) == resolved
    assert yaml.safe_load(text)["evaluation"]["prompts"] == texts


def test_a_reason_cannot_break_out_of_its_comment() -> None:
    config = loads("data:\n  train: a.jsonl\n", "r").check()
    sources = {key: Source("given", "my\nevil: [\x1b#.yaml:3") for key in settings()}
    text = ResolvedConfig(config, sources).to_yaml()
    assert "\nevil" not in text
    assert "\x1b" not in text


def test_a_preset_that_evaluates_does_not_where_there_is_nothing_to_measure_on(workspace: Workspace) -> None:
    written = preset("domain-voice").override(["model.name=mine", "data.train=datasets/a.jsonl"])
    resolved = resolve(written, FACTS, workspace)
    assert resolved.config.evaluation.eval_steps is None
    assert resolved.sources["evaluation.eval_steps"] == Source("automatic", "no validation set")
    assert ResolvedConfig.from_yaml(resolved.to_yaml()) == resolved
    assert loads(resolved.to_yaml(), "run.yaml").check() == resolved.config


def test_a_value_without_its_comment_counts_as_given(workspace: Workspace) -> None:
    text = resolve(given(), FACTS, workspace).to_yaml().replace("  seed: 42  # default", "  seed: 42")
    source = ResolvedConfig.from_yaml(text).sources["training.seed"]
    assert source.kind == "given"
    assert source.reason.startswith("run.yaml:")


def test_a_damaged_run_yaml_says_all_that_is_wrong_with_it(workspace: Workspace) -> None:
    text = resolve(given(), FACTS, workspace).to_yaml()
    text = text.replace("  r: 16  #", "  r: auto  #").replace("  seed: 42", "  sed: 42")
    text = "\n".join(line for line in text.split("\n") if not line.startswith("  lora_alpha"))
    with pytest.raises(ConfigError) as caught:
        ResolvedConfig.from_yaml(text)
    said = "; ".join(caught.value.problems)
    assert "lora.r is auto" in said
    assert "training.sed is not a setting; did you mean training.seed?" in said
    assert "lora.lora_alpha is missing from run.yaml" in said


def test_a_setting_that_came_later_is_at_its_default_in_an_older_run(workspace: Workspace) -> None:
    resolved = resolve(given(), FACTS, workspace)
    text = "\n".join(line for line in resolved.to_yaml().split("\n") if not line.startswith("  packing"))
    assert ResolvedConfig.from_yaml(text) == resolved


ALWAYS_THERE = {
    "model.dtype", "model.device", "data.max_length", "lora.r", "lora.lora_alpha", "lora.target_modules",
    "training.num_train_epochs", "training.per_device_train_batch_size", "training.gradient_accumulation_steps",
    "training.warmup_steps", "training.activation_checkpointing", "evaluation.eval_steps",
    "evaluation.per_device_eval_batch_size", "evaluation.prompts", "evaluation.behaviour", "saving.save_steps",
    "saving.best_metric",
}  # fmt: skip


def test_of_an_automatic_setting_that_came_later_an_older_run_has_what_it_did_without_it(workspace: Workspace) -> None:
    later = [key for key, one in settings().items() if one.default == "auto" and key not in ALWAYS_THERE]
    assert later  # for a new one, `_BEFORE` has to say what runs did that were made without it
    resolved = resolve(given(VALIDATION), FACTS, workspace)
    text = resolved.to_yaml()
    for section, _, name in (key.partition(".") for key in later):
        text = re.sub(rf"(?m)^({section}:\n(?:  .*\n)*?)  {name}:.*\n", r"\1", text)
    older = ResolvedConfig.from_yaml(text)
    assert {key: value for key, value, _ in older.values() if key in later} == {
        "dpo.precompute_ref_log_probs": False, "unlearning.target": "completion", "early_stopping.metric": "eval_loss",
        "forgetting.eval_steps": "epoch", "launch.num_processes": 1, "launch.num_machines": 1, "launch.strategy": "ddp",
    }  # fmt: skip
    assert {str(older.sources[key]) for key in later} == {"default: as before this setting existed"}
    without_section = re.sub(r"\nearly_stopping:\n(?:  .*\n)+", "\n", text)
    assert ResolvedConfig.from_yaml(without_section) == older


def test_a_torn_run_yaml_is_refused(workspace: Workspace) -> None:
    text = resolve(given(), FACTS, workspace).to_yaml()
    for length in range(0, text.index("  best_metric"), 41):
        with pytest.raises(ConfigError):
            ResolvedConfig.from_yaml(text[:length])


def test_files_of_the_workspace_stay_relative_so_that_it_can_be_moved(workspace: Workspace) -> None:
    config = resolve(given(VALIDATION), FACTS, workspace).config
    assert config.data.train == ["datasets/a.jsonl"]
    assert config.data.validation == {"validation": "datasets/v.jsonl"}
    assert config.model.name == "mine"


def test_files_of_the_current_folder_become_absolute(workspace: Workspace) -> None:
    Path("b.jsonl").write_text("{}\n")
    config = resolve(given().override(["data.train=b.jsonl"]), FACTS, workspace).config
    assert config.data.train == [str(Path.cwd() / "b.jsonl")]


def test_a_missing_file_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"no data file 'datasets/b\.jsonl'"):
        resolve(given().override(["data.train=datasets/b.jsonl"]), FACTS, workspace)


def test_prompts_of_a_file_become_part_of_the_run(workspace: Workspace) -> None:
    (workspace.path / "prompts.txt").write_text("Who?\n\n  When? \n")
    resolved = resolve(given(VALIDATION, "evaluation:", "  prompts: prompts.txt"), FACTS, workspace)
    assert resolved.config.evaluation.prompts == ["Who?", "When?"]
    assert resolved.sources["evaluation.prompts"] == Source("given", "my.yaml:7, from prompts.txt")


def test_a_file_without_a_prompt_is_refused(workspace: Workspace) -> None:
    (workspace.path / "prompts.txt").write_text("\n \n")
    with pytest.raises(ConfigError, match="holds no prompt"):
        resolve(given(VALIDATION, "evaluation:", "  prompts: prompts.txt"), FACTS, workspace)


def test_a_revision_of_a_folder_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"model\.revision is v2, but mine is no Hub model"):
        resolve(given().override(["model.revision=v2"]), FACTS, workspace)


def test_a_model_of_the_catalogue_is_written_under_its_hub_name(workspace: Workspace) -> None:
    (workspace.path / "models" / "catalogue.yaml").write_text("models: [{name: short, hub: org/long}]")
    assert resolve(given().override(["model.name=short"]), FACTS, workspace).config.model.name == "org/long"


def test_what_the_machine_cannot_do_is_reported_before_anything_is_made(workspace: Workspace) -> None:
    asked = given().override(["model.device=cuda", "training.optim=lion_8bit", "model.attn_implementation=sdpa"])
    with pytest.raises(ConfigError) as caught:
        resolve(asked, FACTS, workspace)
    assert len(caught.value.problems) == 1
    assert "model.device is cuda" in caught.value.problems[0]


def test_a_preset_resolves_with_the_shipped_samples(workspace: Workspace) -> None:
    resolved = resolve(preset("demo").override(["model.name=mine"]), FACTS, workspace)
    assert resolved.config.data.validation["unlearn"] == "datasets/unlearn/unlearn_val.jsonl"


def test_a_chat_template_is_taken_into_the_configuration_so_that_a_run_can_be_repeated(workspace: Workspace) -> None:
    text = "{% for m in messages %}<|{{ m.role }}|>\n'{{ m.content }}' # \"\n{% endfor %}"
    (workspace.path / "own.jinja").write_text(text)
    written = given().override(["model.chat_template=own.jinja"])
    resolved = resolve(written, FACTS, workspace)
    assert resolved.config.model.chat_template == text
    again = ResolvedConfig.from_yaml(resolved.to_yaml())
    assert again.config.model.chat_template == text
    assert "from own.jinja" in again.sources["model.chat_template"].reason


def test_a_chat_template_that_is_not_there_is_told_as_one(workspace: Workspace) -> None:
    written = given().override(["model.chat_template=gone.jinja"])
    with pytest.raises(NotFound, match="no chat template 'gone"):
        resolve(written, FACTS, workspace)
