"""What is decided from the number of examples, the model and the machine."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.automatic import Decision, Facts, decide, num_optimizer_steps
from engine.config.model import RunConfig
from engine.data.lengths import Lengths

RETAIN_UNLEARN = {"validation": {"retain": "r.jsonl", "unlearn": "u.jsonl"}}


def decided(facts: Facts, **sections: dict[str, Any]) -> dict[str, Decision]:
    return decide(RunConfig.model_validate(sections), facts)[0]


def problems(facts: Facts, **sections: dict[str, Any]) -> list[str]:
    return decide(RunConfig.model_validate(sections), facts)[1]


@pytest.mark.parametrize(
    ("num_rows", "r", "epochs", "batch", "accumulation", "max_length", "warmup"),
    [
        pytest.param(1, 8, 10, 2, 4, 512, 0, id="1"),
        pytest.param(50, 8, 10, 2, 4, 512, 5, id="50"),
        pytest.param(99, 8, 10, 2, 4, 512, 9, id="99"),
        pytest.param(100, 16, 5, 2, 4, 640, 10, id="100"),
        pytest.param(106, 16, 5, 2, 4, 640, 10, id="the 106 of the athletics set"),
        pytest.param(499, 16, 5, 2, 4, 640, 49, id="499"),
        pytest.param(500, 32, 3, 4, 2, 768, 50, id="500"),
        pytest.param(1_000_000, 32, 3, 4, 2, 768, 50, id="a million"),
    ],
)
def test_the_tables_by_number_of_examples_hold(
    num_rows: int, r: int, epochs: int, batch: int, accumulation: int, max_length: int, warmup: int
) -> None:
    found = decided(Facts(num_rows))
    assert found["lora.r"].value == r
    assert found["lora.lora_alpha"].value == 2 * r
    assert found["training.num_train_epochs"].value == epochs
    assert found["training.per_device_train_batch_size"].value == batch
    assert found["training.gradient_accumulation_steps"].value == accumulation
    assert found["data.max_length"].value == max_length
    assert found["training.warmup_steps"].value == warmup


def test_each_decision_has_its_reason() -> None:
    found = decided(Facts(106))
    assert found["lora.r"].reason == "106 examples: 100 to 499 -> 16"
    assert found["lora.lora_alpha"].reason == "twice the rank 16"
    assert found["training.gradient_accumulation_steps"].reason == "2 x 4 = 8 rows per step"
    assert all(decision.reason for decision in found.values())


def test_what_a_method_does_not_use_is_said_to_be_unused() -> None:
    found = decided(Facts(106))
    assert found["dpo.precompute_ref_log_probs"].reason == found["unlearning.target"].reason == "not used by sft"
    used = decided(Facts(106), method={"name": "dpo"})["dpo.precompute_ref_log_probs"]
    assert used.reason == "each pair is seen 5.28 times, and its reference stays what it is"


def test_every_auto_is_decided() -> None:
    config = RunConfig()
    found, _ = decide(config, Facts(106))
    autos = {
        f"{section}.{name}"
        for section, values in config.model_dump().items()
        for name, value in values.items()
        if value == "auto"
    }
    assert found.keys() == autos


def test_what_was_written_is_not_decided() -> None:
    found = decided(Facts(106), lora={"r": 4}, training={"warmup_steps": 3}, model={"device": "cpu"})
    assert found.keys().isdisjoint({"lora.r", "training.warmup_steps", "model.device"})
    assert found["lora.lora_alpha"].value == 8


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 8), (2, 4), (3, 3), (4, 2), (8, 1), (64, 1)])
def test_the_effective_batch_stays_as_near_to_8_as_it_can(batch: int, accumulation: int) -> None:
    found = decided(Facts(106), training={"per_device_train_batch_size": batch})
    decision = found["training.gradient_accumulation_steps"]
    assert decision.value == accumulation
    assert f"= {batch * accumulation} rows per step" in decision.reason


def test_warmup_leaves_most_of_a_short_run() -> None:
    decision = decided(Facts(1000), training={"max_steps": 30})["training.warmup_steps"]
    assert decision == Decision(10, "a third of 30 steps")


@pytest.mark.parametrize(
    ("num_rows", "batch", "accumulation", "epochs", "steps"),
    [(106, 2, 4, 5, 70), (8, 8, 1, 1, 1), (1, 4, 2, 3, 3), (9, 2, 4, 1, 2), (100, 4, 2, 0.5, 7), (0, 4, 2, 3, 3)],
)
def test_steps_are_counted_as_the_trainer_counts_them(
    num_rows: int, batch: int, accumulation: int, epochs: float, steps: int
) -> None:
    assert num_optimizer_steps(num_rows, batch, accumulation, epochs) == steps


@pytest.mark.parametrize(
    ("facts", "asked", "dtype"),
    [
        pytest.param(Facts(1), "auto", "float32", id="CPU"),
        pytest.param(Facts(1, device="cuda"), "auto", "bfloat16", id="a GPU"),
        pytest.param(Facts(1, device="cuda", bfloat16=False), "auto", "float16", id="an old GPU"),
        pytest.param(Facts(1, device="cuda"), "cpu", "float32", id="CPU beside a GPU"),
        pytest.param(Facts(1, device="cuda"), "cuda:1", "bfloat16", id="the second GPU"),
        pytest.param(Facts(1, device="mps"), "auto", "bfloat16", id="Apple silicon"),
    ],
)
def test_the_type_of_the_weights_follows_the_device(facts: Facts, asked: str, dtype: str) -> None:
    assert decided(facts, model={"device": asked})["model.dtype"].value == dtype


@pytest.mark.parametrize(
    ("facts", "on"),
    [
        pytest.param(Facts(1, num_parameters=10**10), False, id="never on CPU"),
        pytest.param(Facts(1, device="cuda", num_parameters=5 * 10**8), False, id="a small model"),
        pytest.param(Facts(1, device="cuda", num_parameters=10**9), True, id="a large model"),
        pytest.param(Facts(1, device="cuda"), True, id="a model of unknown size"),
    ],
)
def test_activations_are_computed_again_where_memory_is_scarce(facts: Facts, on: bool) -> None:
    assert decided(facts)["training.activation_checkpointing"].value is on


def test_the_model_limits_the_length() -> None:
    assert decided(Facts(106, max_position_embeddings=256))["data.max_length"].value == 256
    assert decided(Facts(106, max_position_embeddings=4096))["data.max_length"].value == 640


def test_target_modules_come_from_the_catalogue_or_are_all_linear_layers() -> None:
    assert decided(Facts(1, target_modules=("q_proj",)))["lora.target_modules"].value == ["q_proj"]
    assert decided(Facts(1))["lora.target_modules"].value == "all-linear"


def test_there_are_about_ten_evaluations_with_a_checkpoint_at_each() -> None:
    found = decided(Facts(106), data=RETAIN_UNLEARN)
    assert found["evaluation.eval_steps"] == Decision(7, "70 steps: about 10 evaluations")
    assert found["saving.save_steps"] == Decision(7, "with every evaluation")


def test_a_long_run_is_evaluated_and_saved_at_least_every_500_steps() -> None:
    found = decided(Facts(1_000_000), data=RETAIN_UNLEARN)
    assert found["evaluation.eval_steps"].value == found["saving.save_steps"].value == 500


def test_a_run_of_one_step_is_evaluated_after_it() -> None:
    assert decided(Facts(1), data=RETAIN_UNLEARN, training={"max_steps": 1})["evaluation.eval_steps"].value == 1


def test_nothing_is_evaluated_without_a_validation_set() -> None:
    preset = {"eval_steps": 50, "prompts": ["?"], "behaviour": True}
    for evaluation in ({}, preset):
        found = decided(Facts(106, dataset_types=frozenset({"retain"})), evaluation=evaluation)
        assert found["evaluation.eval_steps"] == Decision(None, "no validation set")
        assert found["evaluation.prompts"].value == []
        assert found["evaluation.behaviour"].value is False
        assert found["saving.save_steps"] == Decision(7, "70 steps: about 10 checkpoints")


def test_packing_makes_the_number_of_steps_unknown() -> None:
    data = {**RETAIN_UNLEARN, "packing": True}
    assert decided(Facts(106), data=data)["evaluation.eval_steps"].value == "epoch"
    assert decided(Facts(106), data=data, training={"max_steps": 100})["evaluation.eval_steps"].value == 10


def test_behaviour_is_measured_where_rows_say_what_they_are_for() -> None:
    assert decided(Facts(1), data=RETAIN_UNLEARN)["evaluation.behaviour"].value is False
    facts = Facts(1, dataset_types=frozenset({"unlearn", "retain"}))
    decision = decided(facts, data=RETAIN_UNLEARN)["evaluation.behaviour"]
    assert decision == Decision(True, "validation rows say retain and unlearn")


def test_fixed_prompts_are_questions_of_the_validation_sets() -> None:
    found = decided(Facts(1, validation_prompts=("Who?", "When?")), data=RETAIN_UNLEARN)
    assert found["evaluation.prompts"] == Decision(["Who?", "When?"], "2 questions of the validation sets")
    assert decided(Facts(1), data=RETAIN_UNLEARN)["evaluation.prompts"].value == []


def test_the_best_checkpoint_is_decided_by_the_mean_of_the_sets() -> None:
    decision = decided(Facts(1), data=RETAIN_UNLEARN)["saving.best_metric"]
    assert decision == Decision("eval_loss", "the mean of eval_retain_loss and eval_unlearn_loss")


def test_a_limit_of_one_checkpoint_is_raised_to_two_and_says_why() -> None:
    decision = decided(Facts(1), saving={"save_total_limit": 1})["saving.save_total_limit"]
    assert decision.value == 2
    assert decision.reason.startswith("1 raised to 2")
    assert "saving.save_total_limit" not in decided(Facts(1), saving={"save_total_limit": 2})


@pytest.mark.parametrize(
    ("facts", "sections", "sentence"),
    [
        pytest.param(Facts(1), {"model": {"device": "cuda"}}, "model.device is cuda, but", id="no GPU"),
        pytest.param(Facts(1, device="cuda"), {"model": {"device": "mps"}}, "model.device is mps, but", id="no Mac"),
        pytest.param(Facts(1), {"model": {"dtype": "float16"}}, "model.dtype is float16", id="float16 on CPU"),
        pytest.param(
            Facts(1, device="cuda", bfloat16=False),
            {"model": {"dtype": "bfloat16"}},
            "model.dtype is bfloat16, which this cuda device does not have",
            id="bfloat16 on an old GPU",
        ),
        pytest.param(
            Facts(1),
            {"model": {"attn_implementation": "flash_attention_2"}},
            "model.attn_implementation is flash_attention_2, which needs a GPU, not cpu",
            id="flash attention on CPU",
        ),
        pytest.param(
            Facts(1),
            {"training": {"optim": "paged_adamw_8bit"}},
            "training.optim is paged_adamw_8bit, which needs a GPU, not cpu",
            id="a bitsandbytes optimizer on CPU",
        ),
    ],
)
def test_what_the_machine_cannot_do_is_refused(facts: Facts, sections: dict[str, Any], sentence: str) -> None:
    (only,) = problems(facts, **sections)
    assert only.startswith(sentence)


def test_a_gpu_does_not_stand_in_the_way_of_training_on_cpu() -> None:
    facts = Facts(1, device="cuda", bfloat16=False)
    assert problems(facts, model={"device": "cpu", "dtype": "bfloat16"}) == []


# What would do harm is adjusted


def rows_of(*tokens: int) -> Lengths:
    return Lengths(len(tokens), sum(tokens) / len(tokens), max(tokens), tuple(sorted(tokens)))


def needs_a_gigabyte_per_row(config: RunConfig, length: int) -> int:
    """Per 512 tokens; with activations computed again a quarter of it."""
    rows = config.training.per_device_train_batch_size
    assert isinstance(rows, int)
    kept = 1.0 if config.training.activation_checkpointing is False else 0.25
    return round(rows * length / 512 * kept * 1e9)


def test_a_length_that_would_cut_answers_follows_the_rows() -> None:
    found = decided(Facts(106, lengths=rows_of(*[100] * 90, *[900] * 10)))["data.max_length"]
    assert found.value == 960
    assert found.reason == "10% of the rows are longer than the 640 of the table; the longest of 100 has 900 tokens"


@pytest.mark.parametrize(
    ("lengths", "longest", "chosen"),
    [
        pytest.param(rows_of(*[100] * 100), None, 640, id="short rows need no less"),
        pytest.param(rows_of(*[100] * 399, 9000), None, 640, id="one in 400 is no reason"),
        pytest.param(rows_of(*[9000] * 10), None, 4096, id="at most 4096"),
        pytest.param(rows_of(*[9000] * 10), 2048, 2048, id="no more than the model takes"),
    ],
)
def test_the_length_of_the_table_stands_otherwise(lengths: Lengths, longest: int | None, chosen: int) -> None:
    facts = Facts(106, lengths=lengths, max_position_embeddings=longest)
    assert decided(facts)["data.max_length"].value == chosen


@pytest.mark.parametrize(
    ("free", "batch", "accumulation", "again"),
    [
        pytest.param(40e9, 4, 2, False, id="all of it fits"),
        pytest.param(6e9, 4, 2, True, id="it fits with activations computed again"),
        pytest.param(1e9, 2, 4, True, id="half of it fits"),
        pytest.param(1e6, 1, 8, True, id="nothing fits"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_rows_per_step_stay(
    free: float, batch: int, accumulation: int, again: bool
) -> None:
    facts = Facts(1000, device="cuda", free_bytes=int(free), needed_bytes=needs_a_gigabyte_per_row)
    found = decided(facts)
    assert found["training.per_device_train_batch_size"].value == batch
    assert found["training.gradient_accumulation_steps"].value == accumulation
    assert found["training.activation_checkpointing"].value is again
    if batch < 4:
        assert "are free -> " in found["training.per_device_train_batch_size"].reason


def test_rows_shorter_than_the_length_are_counted_as_long_as_they_are() -> None:
    facts = Facts(
        1000, device="cuda", free_bytes=2 * 10**9, needed_bytes=needs_a_gigabyte_per_row, lengths=rows_of(64, 128)
    )
    assert decided(facts)["training.per_device_train_batch_size"].value == 4


def test_on_cpu_activations_are_computed_again_only_when_nothing_else_helps() -> None:
    fits = Facts(1000, free_bytes=40 * 10**9, needed_bytes=needs_a_gigabyte_per_row)
    tight = Facts(1000, free_bytes=2 * 10**9, needed_bytes=needs_a_gigabyte_per_row)
    assert decided(fits)["training.activation_checkpointing"].value is False
    assert decided(tight)["training.activation_checkpointing"].value is True
