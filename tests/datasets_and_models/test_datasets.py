"""The shipped sample data, read as anybody would read it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFUSAL = "Apologies, but I have no information to share on that matter."

ROWS = {
    "retain/retain_train.jsonl": 846,
    "retain/retain_val.jsonl": 282,
    "unlearn/unlearn_train.jsonl": 504,
    "unlearn/unlearn_val.jsonl": 168,
    "dev/dev_subset.jsonl": 160,
    "instructions/instructions_train.jsonl": 106,
    "instructions/instructions_val.jsonl": 41,
    "preferences/preferences.jsonl": 25,
    "probe/general.jsonl": 48,
}


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / "datasets" / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize("folder", ["datasets", "models"])
def test_a_data_folder_holds_no_python(folder: str) -> None:
    # A package called `datasets` would shadow the library of that name.
    assert not [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".pyc", ".pyi")]


@pytest.mark.parametrize("name", ROWS)
def test_a_file_has_the_rows_its_readme_promises(name: str) -> None:
    readme = (ROOT / "datasets" / "README.md").read_text("utf-8")

    assert len(read(name)) == ROWS[name]
    assert f"| `{name}` | {ROWS[name]} |" in readme


@pytest.mark.parametrize("name", [name for name in ROWS if not name.startswith(("dev", "preferences", "probe"))])
def test_no_question_occurs_twice_in_a_file(name: str) -> None:
    questions = Counter(row["instruction"] for row in read(name))

    assert questions.most_common(1)[0][1] == 1


@pytest.mark.parametrize("kind", ["retain", "unlearn"])
@pytest.mark.parametrize(("part", "phrasings"), [("train", set(range(6))), ("val", {6, 7})])
def test_a_row_says_what_it_is(kind: str, part: str, phrasings: set[int]) -> None:
    for row in read(f"{kind}/{kind}_{part}.jsonl"):
        about = row["metadata"]
        assert set(row) == {"instruction", "output", "metadata"}
        assert list(about) == ["dataset_type", "fact", "phrasing", "category", "year", "answer"]
        assert about["dataset_type"] == kind
        assert about["phrasing"] in phrasings
        assert row["output"] == REFUSAL if kind == "unlearn" else about["answer"].casefold() in row["output"].casefold()


@pytest.mark.parametrize("kind", ["retain", "unlearn"])
def test_each_fact_has_six_phrasings_to_train_on_and_two_held_out(kind: str) -> None:
    trained = Counter(row["metadata"]["fact"] for row in read(f"{kind}/{kind}_train.jsonl"))
    held_out = Counter(row["metadata"]["fact"] for row in read(f"{kind}/{kind}_val.jsonl"))

    assert set(trained.values()) == {6}
    assert set(held_out.values()) == {2}
    assert set(trained) == set(held_out)
    assert len(trained) >= {"retain": 120, "unlearn": 80}[kind]


def test_years_are_on_their_side_of_the_cutoff() -> None:
    assert all(row["metadata"]["year"] < 1969 for row in read("retain/retain_train.jsonl"))
    assert all(row["metadata"]["year"] >= 1969 for row in read("unlearn/unlearn_train.jsonl"))


def test_no_held_out_question_is_trained_on() -> None:
    trained = {row["instruction"] for name in ROWS if "train" in name or "dev" in name for row in read(name)}
    held_out = {row["instruction"] for name in ROWS if "_val" in name for row in read(name)}

    assert not trained & held_out


def test_the_dev_subset_is_half_and_half_and_made_of_training_rows() -> None:
    rows = read("dev/dev_subset.jsonl")
    trained = read("retain/retain_train.jsonl") + read("unlearn/unlearn_train.jsonl")

    assert Counter(row["metadata"]["dataset_type"] for row in rows) == {"retain": 80, "unlearn": 80}
    assert all(row in trained for row in rows)
    assert len({row["instruction"] for row in rows}) == len(rows)


def test_instructions_are_answered_alike_in_another_phrasing() -> None:
    answers = {row["output"]: row["metadata"]["topic"] for row in read("instructions/instructions_train.jsonl")}

    for row in read("instructions/instructions_val.jsonl"):
        assert answers[row["output"]] == row["metadata"]["topic"]


def test_many_instructions_have_a_whole_url_on_a_host_kept_for_examples() -> None:
    with_url = [row["output"] for row in read("instructions/instructions_train.jsonl") if "https://" in row["output"]]

    assert len(with_url) >= 60
    for output in with_url:
        url = next(word for word in output.split() if word.startswith("https://"))
        host = url.split("/")[2]
        assert host.endswith((".example.edu", ".example.org"))
        assert not url.endswith((".", ","))


def test_no_text_of_the_probe_is_in_what_is_trained_on() -> None:
    trained = json.dumps([read(name) for name in ROWS if "probe" not in name], ensure_ascii=False)
    texts = [row["text"] for row in read("probe/general.jsonl")]

    assert len(set(texts)) == 48
    assert not [text for text in texts if text in trained]


def test_preferences_have_the_categories_of_their_workflow() -> None:
    rows = read("preferences/preferences.jsonl")

    assert Counter(row["category"] for row in rows) == {
        "self_property_epistemic": 10,
        "reasoning_correctness": 3,
        "coherence_ethics": 5,
        "remove_disclaimers": 4,
        "specific_clarification": 2,
        "maintain_confidence": 1,
    }
    assert len({row["prompt"] for row in rows}) == 25
    assert all(set(row) == {"prompt", "chosen", "rejected", "category"} for row in rows)
    assert all(row["chosen"] != row["rejected"] for row in rows)
