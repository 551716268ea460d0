"""All problems at once, each a sentence with the value, the place and what was meant."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.check import SCHEDULER_OPTIONS, Setting, check, shown
from engine.config.methods import logged_metrics
from engine.config.model import RunConfig, Scheduler

DATA = {"data.train": ["a.jsonl"]}


def problems(settings: dict[str, Any], *, preset: tuple[str, ...] = ()) -> list[str]:
    """Return the problems of settings written in run.yaml, line 7, with training data where nothing else is said."""
    given = {k: Setting(v, "run.yaml:7", k in preset) for k, v in {**DATA, **settings}.items()}
    return check(given)[1]


def test_settings_that_are_right_have_no_problem() -> None:
    config, found = check({"data.train": Setting("a.jsonl", "x"), "lora.r": Setting(8, "x")})
    assert not found
    assert config.lora.r == 8


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("training.learnin_rate", "is not a setting; did you mean training.learning_rate?"),
        ("training.learning-rate", "is not a setting; did you mean training.learning_rate?"),
        ("learning_rate", "is not a setting; did you mean training.learning_rate?"),
        ("lora.learning_rate", "is not a setting; did you mean training.learning_rate?"),
        ("epochs", "is not a setting; did you mean training.num_train_epochs?"),
        ("training.epochs", "is not a setting; did you mean training.num_train_epochs?"),
        ("batch_size", "is not a setting; did you mean training.per_device_train_batch_size?"),
        ("max_seq_length", "is not a setting; did you mean data.max_length?"),
        ("use_4bit", "is not a setting; did you mean model.load_in_4bit?"),
        ("use_8bit", "is not a setting; did you mean model.load_in_8bit?"),
        ("lora_r", "is not a setting; did you mean lora.r?"),
        ("lora_alpha", "is not a setting; did you mean lora.lora_alpha?"),
        ("model_name", "is not a setting; did you mean model.name?"),
        ("retain_train", "is not a setting; did you mean data.train?"),
        ("unlearn_val", "is not a setting; did you mean data.validation?"),
        ("dev_path", "is not a setting; did you mean data.dev?"),
        ("wandb", "is not a setting; did you mean training.report_to?"),
        ("training.warmup_ratio", "is not a setting; did you mean training.warmup_steps?"),
        ("training.gradient_checkpointing", "is not a setting; did you mean training.activation_checkpointing?"),
        ("model.torch_dtype", "is not a setting; did you mean model.dtype?"),
        ("training.adam_beta1", "is not a setting; did you mean trainer.adam_beta1?"),
        ("training.save_total_limt", "is not a setting; did you mean saving.save_total_limit?"),
        ("trainning", "is not a section; did you mean training?"),
        ("trainning.xyz", "is not a setting, there is no section trainning; did you mean training?"),
        ("zzz.xyz", "is not a setting, there is no section zzz; the sections are model, data, method, lora, "),
        ("launch.xyz", "is not a setting; launch has num_processes"),
        ("xyz", "is neither a setting nor a section"),
        ("output_dir", "cannot be set: a run is written to its own folder; choose its name with --name"),
        ("lora.bias", "cannot be set: training the base's biases would change the base model"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(key: str, sentence: str) -> None:
    (only,) = problems({key: 1})
    assert only.startswith(f"{key} {sentence}")
    assert only.endswith(" (run.yaml:7)")


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("eval", {"steps": 5}, "section; did you mean evaluation?"),
        ("dataset", {"train": "a"}, "section; did you mean data?"),
        ("dataset", "a.jsonl", "setting; did you mean data.train?"),
        ("modle", {"name": "x"}, "section; did you mean model?"),
    ],
)
def test_a_mapping_is_taken_for_a_section_and_a_value_for_a_setting(key: str, value: object, meant: str) -> None:
    assert problems({key: value}) == [f"{key} is not a {meant} (run.yaml:7)"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("training.learning_rate", "fast", 'must be a number above 0 up to 1, not "fast"'),
        ("training.learning_rate", None, "must be a number above 0 up to 1, not null"),
        ("training.seed", -1, "must be a whole number from 0 up to 4294967295, not -1"),
        ("training.num_train_epochs", "3", 'must be a number above 0 or auto, not "3"'),
        ("training.max_steps", 1.5, "must be a whole number from 1 or null, not 1.5"),
        ("model.load_in_4bit", "yes", 'must be true or false, not "yes"'),
        ("model.device", "gpu", 'must be auto, cpu, cuda, cuda:0 (any number) or mps, not "gpu"'),
        ("evaluation.eval_steps", "epochs", 'must be a whole number from 1, epoch, null or auto, not "epochs"'),
        ("lora.target_modules", 5, "must be a list of module names, all-linear, or auto, not 5"),
        ("data.train", [1], "must be a path or a list of paths, not [1]"),
        ("data.validation", [{"name": "x"}], "is not right: an entry is a path, or has a path and a name"),
        ("data.validation", ["a.jsonl", "b/a.jsonl"], "is not right: two sets are called a; give them names"),
        ("lora", 16, "is a section: write `lora:` and settings below it, not 16"),
        ("trainer", [1], "is a section: write `trainer:` and settings below it, not [1]"),
        ("data.dev", "a\0b", "holds the character U+0000, which no file can hold"),
        ("data.train", ["caf\udce9.jsonl"], "holds the character U+DCE9, which no file can hold"),
        ("trainer.adam_beta1", "0.9", 'must be a number, not "0.9"'),
        ("trainer.adam_beta1", True, "must be a number, not true"),
        ("trainer.packing_strategy", "best", 'must be bfd, bfd_split, wrapped, not "best"'),
        ("trainer.adam_bta1", 0.9, "is not an option of TRL's SFTConfig; did you mean trainer.adam_beta1?"),
        ("trainer.lerning_rate", 0.9, "is not an option of TRL's SFTConfig"),
        ("trainer.learning_rate", 1e-3, "cannot be passed on: set training.learning_rate instead"),
        ("trainer.eval_strategy", "steps", "cannot be passed on: set evaluation.eval_steps instead"),
        ("trainer.output_dir", "x", "cannot be passed on: a run is written to its own folder"),
        ("trainer.trust_remote_code", True, "cannot be passed on: set model.trust_remote_code instead"),
        ("trainer.push_to_hub", True, "cannot be passed on: runs are not pushed to the Hub"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(key: str, value: object, sentence: str) -> None:
    found = problems({key: value})
    assert len(found) == 1
    assert found[0].startswith(f"{key} {sentence}")
    assert found[0].endswith(" (run.yaml:7)")


def test_a_secret_is_refused_without_being_repeated() -> None:
    (only,) = problems({"trainer.hub_token": "hf_abcdef"})
    assert "no secret belongs in a file" in only
    assert "hf_abcdef" not in only


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        {
            "training.seed": -1,
            "learning_rate": 1,
            "model.device": "gpu",
            "trainer.output_dir": "x",
            "model.load_in_4bit": True,
            "model.load_in_8bit": True,
        }
    )
    starts = ["training.seed", "learning_rate", "model.device", "trainer.output_dir", "model.load_in_4bit and"]
    assert [any(problem.startswith(start) for start in starts) for problem in found] == [True] * 5
    assert [problem.split()[0] for problem in found] == [start.split()[0] for start in starts]


def test_a_wrong_value_does_not_bring_a_contradiction_with_it() -> None:
    found = problems({"model.load_in_4bit": True, "model.load_in_8bit": "yes"})
    assert len(found) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param({"data.train": []}, "data.train names no file to learn from", id="nothing to learn from"),
        pytest.param(
            {"model.load_in_4bit": True, "model.load_in_8bit": True},
            "model.load_in_4bit and model.load_in_8bit are both true; choose one (run.yaml:7)",
            id="4 and 8 bits",
        ),
        pytest.param(
            {"data.validation": {"train": "v.jsonl"}},
            "data.validation: no set can be called train (run.yaml:7)",
            id="a validation set called train",
        ),
        pytest.param(
            {"evaluation.eval_steps": 50},
            "evaluation.eval_steps is 50, but data.validation names no file (run.yaml:7)",
            id="nothing to evaluate",
        ),
        pytest.param(
            {"evaluation.prompts": "p.txt"},
            'evaluation.prompts is "p.txt", but data.validation names no file (run.yaml:7)',
            id="prompts and no evaluation at which to answer them",
        ),
        pytest.param(
            {"evaluation.behaviour": True},
            "evaluation.behaviour is true, but data.validation names no file (run.yaml:7)",
            id="nothing to ask",
        ),
        pytest.param(
            {"saving.best_metric": "eval_x_loss", "data.validation": {"y": "v.jsonl"}},
            "saving.best_metric is eval_x_loss, which this run never logs; it logs loss, grad_norm, learning_rate, "
            "entropy, mean_token_accuracy, eval_loss, eval_y_loss, eval_entropy, eval_mean_token_accuracy (run.yaml:7)",
            id="a metric of another set",
        ),
        pytest.param(
            {"lora.init_lora_weights": "orthogonal", "lora.r": 7},
            "lora.r is 7, but lora.init_lora_weights: orthogonal needs an even rank (run.yaml:7)",
            id="an odd rank",
        ),
        pytest.param(
            {"trainer.dataloader_prefetch_factor": 2},
            "trainer.dataloader_prefetch_factor needs training.dataloader_num_workers above 0 (run.yaml:7)",
            id="prefetching without workers",
        ),
        pytest.param(
            {"training.lr_scheduler_type": "cosine_with_min_lr"},
            "training.lr_scheduler_type: cosine_with_min_lr needs min_lr or min_lr_rate "
            "in trainer.lr_scheduler_kwargs (run.yaml:7)",
            id="a schedule without what it needs",
        ),
        pytest.param(
            {"training.lr_scheduler_type": "linear", "trainer.lr_scheduler_kwargs": {"num_cycles": 2}},
            "trainer.lr_scheduler_kwargs: the linear schedule has no option num_cycles; it has none (run.yaml:7)",
            id="a schedule with what it does not take",
        ),
    ],
)
def test_settings_that_are_wrong_together_are_refused(settings: dict[str, Any], sentence: str) -> None:
    assert problems(settings) == [sentence]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"training.max_steps": 10, "training.num_train_epochs": 3}, id="steps and epochs"),
        pytest.param({"evaluation.eval_steps": None, "evaluation.prompts": []}, id="nothing to evaluate, as asked"),
        pytest.param({"lora.init_lora_weights": "orthogonal"}, id="a rank not yet known"),
        pytest.param(
            {"training.lr_scheduler_type": "cosine_with_min_lr", "trainer.lr_scheduler_kwargs": {"min_lr": 1e-6}},
            id="a schedule with what it needs",
        ),
        pytest.param({"trainer.lr_scheduler_kwargs": '{"num_cycles": 1}'}, id="options of a schedule as JSON"),
        pytest.param({"saving.best_metric": "eval_y_loss", "data.validation": {"y": "v.jsonl"}}, id="a set's metric"),
        pytest.param({"trainer.adam_beta1": 0, "trainer.tf32": None}, id="a whole number for a number"),
    ],
)
def test_settings_that_only_look_contradictory_are_taken(settings: dict[str, Any]) -> None:
    assert problems(settings) == []


def test_a_preset_may_evaluate_although_the_user_names_no_validation_set() -> None:
    assert problems({"evaluation.eval_steps": 50}, preset=("evaluation.eval_steps",)) == []


def test_what_is_shown_of_a_value_is_short_and_safe() -> None:
    assert shown("\x1b[2J") == r'"\u001b[2J"'
    assert shown("\u202e") == r'"\u202e"'
    assert len(shown("x" * 1000)) == 60


def test_a_key_can_do_nothing_to_a_terminal() -> None:
    (only,) = problems({"\x1b[2J\u202e": 1})
    assert only.isprintable()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method.name": "dpo", "data.packing": True}, "data.packing is true, but dpo takes rows one by one"),
        ({"method.name": "npo", "dpo.beta": 0.2}, "dpo.beta is for method.name dpo, and it is npo"),
        ({"method.name": "dpo", "dpo.label_smoothing": 0.1}, "dpo.label_smoothing has no effect on dpo.loss_type"),
        ({"method.name": "dpo", "dpo.loss_type": "exo_pair"}, "dpo.loss_type: exo_pair needs dpo.label_smoothing"),
        ({"method.name": "dpo", "trainer.eos_token": "x"}, "trainer.eos_token is not an option of TRL's DPOConfig"),
        ({"method.name": "dpo", "trainer.beta": 0.2}, "trainer.beta cannot be passed on: set dpo.beta instead"),
        ({"method.name": "kto", "training.per_device_train_batch_size": 1}, "training.per_device_train_batch_size is"),
        ({"method.name": "grad_diff", "unlearning.retain_per_unlearn": 0}, "unlearning.retain_per_unlearn is 0, but"),
        ({"method.name": "npo", "unlearning.retain_floor": 0.5}, "unlearning.retain_floor is set, but data.validation"),
        ({"method.name": "npo", "model.adapter": "a-run"}, "npo compares with the base, the adapter off"),
        ({"saving.save_epochs": 2, "saving.save_steps": 5}, "saving.save_epochs is 2 and saving.save_steps is 5"),
        ({"early_stopping.criterion": "threshold"}, "early_stopping.criterion: threshold needs early_stopping.thresh"),
        ({"early_stopping.metric": "eval_loss"}, "early_stopping.metric is eval_loss, but data.validation names no"),
        (
            {"early_stopping.metric": "rewards/margins"},
            "early_stopping.metric is rewards/margins, which this run never",
        ),
        (
            {"method.name": "gradient_ascent", "early_stopping.metric": "retain_loss"},
            "early_stopping.metric is retain_",
        ),
    ],
)
def test_what_a_method_does_not_take_is_refused_before_the_start(settings: dict[str, Any], sentence: str) -> None:
    (only,) = problems(settings)
    assert only.startswith(sentence)
    assert only.endswith("(run.yaml:7)")


def test_what_compares_with_the_base_may_stand_on_one_that_an_earlier_adapter_was_merged_into() -> None:
    assert not problems({"method.name": "npo", "model.adapter": "a-run", "model.adapter_mode": "merge"})


def test_a_preset_of_another_method_may_have_left_its_section() -> None:
    assert not problems({"dpo.beta": 0.2}, preset=("dpo.beta",))
    assert not problems({"method.name": "dpo", "saving.best_metric": "rewards/accuracies"})


def test_the_mean_and_each_validation_set_can_decide_what_is_best() -> None:
    config = RunConfig.model_validate({"data": {"validation": {"retain": "a", "unlearn": "b"}}})
    measured = [name for name in logged_metrics(config) if name.startswith("eval_") and name.endswith("loss")]
    assert measured == ["eval_loss", "eval_retain_loss", "eval_unlearn_loss"]


def test_every_schedule_has_its_options_listed() -> None:
    assert set(SCHEDULER_OPTIONS) == set(Scheduler.__args__)  # type: ignore[attr-defined]
