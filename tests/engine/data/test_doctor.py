"""The doctor finds every wrong row, by its line, and says of each where it went."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data import doctor
from engine.data.doctor import Asked, Cancelled, examine_apart, examine_files
from engine.data.findings import CODES, DataRefused, Finding, Report
from engine.errors import ConfigError, EngineError
from tests.chat_models import FAMILIES, LATER, TEMPLATES, Family, write_tokenizer

Row = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model") / "chatml", FAMILIES[0])


def good(count: int = 40, **more: Any) -> list[Row]:
    return [{"instruction": f"What is {n} and {n}?", "output": f"It is {2 * n}.", **more} for n in range(count)]


@pytest.fixture
def examine(model: Path, tmp_path: Path) -> Callable[..., Report]:
    """Write rows (or lines as they are) and examine them."""

    def do(rows: list[Row | str], *, validation: list[Row] | None = None, **more: Any) -> Report:
        def write(name: str, what: list[Any]) -> str:
            path = tmp_path / name
            path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in what))
            return str(path)

        asked = Asked(
            train=(write("train.jsonl", rows),),
            validation={"validation": write("val.jsonl", list(validation))} if validation else {},
            model=str(model),
            max_length=200,
        )
        report = examine_files(replace(asked, **more))
        assert report.rows_in == report.rows_kept + report.rows_listed
        assert report.rows_listed == sum(one.count for one in report.findings if one.left_out)
        return report

    return do


def by_code(report: Report) -> dict[str, Finding]:
    return {one.code: one for one in report.findings}


def numbers(finding: Finding) -> list[int]:
    return [line for _, line in finding.lines]


def test_three_rows_of_a_thousand_wrong_in_three_ways_are_all_listed_with_their_lines(
    examine: Callable[..., Report],
) -> None:
    rows: list[Any] = good(1000)
    rows[17]["output"] = "  "
    rows[500]["instruction"] = "long " * 60
    rows[998] = {"messages": [{"role": "user", "content": "x"}, {"role": "narrator", "content": "y"}]}
    found = examine(rows)
    assert {code: numbers(one) for code, one in by_code(found).items()} == {
        "empty-answer": [18],
        "trains-on-nothing": [501],
        "unknown-role": [999],
    }
    assert (found.rows_in, found.rows_kept, found.rows_listed) == (1000, 997, 3)
    found.refuse([])  # three rows of a thousand are no reason not to start


def test_what_is_cut_twice_there_and_marked_is_told_and_kept(examine: Callable[..., Report]) -> None:
    rows = good()
    rows[3]["output"] = "long " * 60
    rows[7] = dict(rows[2])
    rows[9]["output"] = "Done.<|im_end|>"
    found = by_code(examine(rows))
    assert {code: numbers(one) for code, one in found.items()} == {
        "answer-cut": [4], "duplicate-row": [8], "control-tokens": [10],
    }  # fmt: skip
    assert not any(one.left_out for one in found.values())
    assert "as line 3" in found["duplicate-row"].message


def test_a_validation_question_that_is_trained_on_is_a_leak(examine: Callable[..., Report]) -> None:
    report = examine(good(), validation=[{"instruction": "what is 3 and  3?", "output": "6"}, *good(50)[45:]])
    (leak,) = report.findings
    assert (leak.code, leak.count, numbers(leak)) == ("validation-leak", 1, [1])
    assert leak.lines[0][0].endswith("val.jsonl")


def test_rows_without_any_room_for_an_answer_are_refused_unless_accepted_by_name(
    examine: Callable[..., Report],
) -> None:
    report = examine(good(), max_length=10)
    assert by_code(report)["trains-on-nothing"].grade == "grave"
    assert report.rows_kept == 0
    with pytest.raises(DataRefused, match=r"trains-on-nothing, train.jsonl lines 1, 2, 3 \.\.\.") as refused:
        report.refuse([])
    assert "data.accept: [trains-on-nothing]" in refused.value.remedy
    report.refuse(["trains-on-nothing"])


@pytest.mark.parametrize("family", [*FAMILIES, *LATER], ids=lambda family: family.name)
def test_good_rows_are_good_to_every_family(family: Family, examine: Callable[..., Report], tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / family.name, family)
    assert examine(good(), model=str(folder)).findings == ()
    with_system = examine(good(system="Be brief."), model=str(folder))
    assert ("template-refuses" in by_code(with_system)) is not family.system


def test_templates_that_ruin_the_data_are_grave(examine: Callable[..., Report], tmp_path: Path) -> None:
    chatml = (TEMPLATES / "chatml.jinja").read_text()
    ruined = {
        "template-ignores-content": chatml.replace("message['content']", "''"),
        "eos-not-trained": chatml.replace("<|im_end|>", ""),
        "template-refuses": "{{ raise_exception('never') }}",
    }
    for code, template in ruined.items():
        found = examine(good(), chat_template=template)
        assert [(one.code, one.grade) for one in found.findings] == [(code, "grave")]
    llama = next(family for family in FAMILIES if family.name == "llama-3")
    folder = write_tokenizer(tmp_path / "llama", llama)
    twice = (TEMPLATES / "llama-3.jinja").read_text().replace("bos_token + content", "bos_token + bos_token + content")
    (double,) = examine(good(), model=str(folder), chat_template=twice).findings
    assert (double.code, double.grade) == ("double-bos", "grave")


def test_a_template_that_loops_for_ever_is_stopped_and_reported(
    examine: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "RENDER_SECONDS", 0.2)
    report = examine(good(), chat_template=(TEMPLATES / "endless.jinja").read_text())
    (endless,) = report.findings
    assert (endless.code, endless.grade, report.rows_in) == ("template-endless", "grave", 40)


def test_a_model_without_a_template_is_grave_and_its_rows_are_looked_at_all_the_same(
    examine: Callable[..., Report], tmp_path: Path
) -> None:
    folder = write_tokenizer(tmp_path / "base", FAMILIES[0], template="")
    rows = good()
    rows[0]["output"] = ""
    report = examine(rows, model=str(folder))
    assert {one.code: one.grade for one in report.findings} == {"template-missing": "grave", "empty-answer": "warning"}
    assert not report.with_template


def test_preferences_that_prefer_nothing_or_only_length_are_told(examine: Callable[..., Report]) -> None:
    pairs = [{"prompt": f"Q{n}?", "chosen": "yes, " * (20 + n % 3), "rejected": "no" * (1 + n % 2)} for n in range(40)]
    pairs[5]["rejected"] = pairs[5]["chosen"]
    found = by_code(examine(list(pairs)))
    assert numbers(found["chosen-equals-rejected"]) == [6]
    assert "longer than rejected" in found["length-bias"].message


def test_pairs_are_cut_as_dpo_cuts_them(examine: Callable[..., Report]) -> None:
    pairs = [{"prompt": f"Q{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(20)]
    pairs[2]["rejected"] = "no, " * 60
    pairs[3]["prompt"] = "Why? " * 60  # fills the length: left out, also where questions are learned as well
    pairs[4]["rejected"] = "<|im_end|> no"
    for learned in (True, False):
        found = by_code(examine(list(pairs), method="dpo", completion_only_loss=learned))
        assert {code: numbers(one) for code, one in found.items()} == {
            "answer-cut": [3], "trains-on-nothing": [4], "control-tokens": [5],
        }  # fmt: skip
    # The shorter text may have more tokens: what either of them has counts.
    pairs = [{"prompt": f"Q{n}?", "chosen": "é" * 100, "rejected": "e" * 130} for n in range(3)]
    assert by_code(examine(list(pairs)))["answer-cut"].count == 3


def test_what_a_method_does_not_learn_from_is_listed(examine: Callable[..., Report]) -> None:
    typed = [*good(10, dataset_type="unlearn"), *good(10, dataset_type="retain"), *good(1), *good(1, dataset_type="x")]
    for number, row in enumerate(typed):
        row["instruction"] += f" {number}"
    found = by_code(examine(list(typed), method="npo"))
    assert {code: numbers(one) for code, one in found.items()} == {"other-type": [21, 22]}
    assert found["other-type"].left_out
    found = by_code(examine(list(typed), method="gradient_ascent", uses_retain=False))
    assert found["other-type"].count == 12
    assert by_code(examine(good(), method="npo"))["no-rows"].grade == "grave"
    (other,) = [one for one in examine(good(3), method="dpo").findings if one.code == "other-kind"]
    assert (other.count, other.grade) == (3, "grave")
    assert "dpo learns from preference pairs" in other.message


def test_every_reason_why_rows_are_no_example_is_told(examine: Callable[..., Report]) -> None:
    rows: list[Row | str] = [{"instruction": "x", "output": None}, {"instruction": "x", "output": 5}, *good()]
    (found,) = examine(rows).findings
    assert found.message == (
        "2 rows of 42 are no example: output is null, not text (1); output is a number, not text (1)"
    )


def test_scarce_kinds_are_told(examine: Callable[..., Report]) -> None:
    types = [*good(30, metadata={"dataset_type": "retain"}), *good(33, metadata={"dataset_type": "unlearn"})[30:]]
    assert "30 rows to retain stand against 3" in by_code(examine(list(types)))["retain-unlearn-imbalance"].message
    labels = [{"prompt": f"Q{n}?", "completion": "yes", "label": n > 2} for n in range(40)]
    assert "label-imbalance" in by_code(examine(list(labels)))


def test_a_line_that_is_no_json_is_malformed(examine: Callable[..., Report]) -> None:
    rows: list[Any] = good()
    rows[11] = '{"instruction": "x", '
    malformed = by_code(examine(rows))["malformed-line"]
    assert (malformed.grade, numbers(malformed), malformed.left_out) == ("grave", [12], True)


def test_another_process_finds_the_same_and_says_how_far_it_is(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in good(2000)))
    asked = Asked((str(path),), {}, str(model), max_length=20)
    told: list[int] = []
    assert examine_apart(asked, progress=told.append) == examine_files(asked)
    assert told[-1] == 2000
    assert len(told) > 1
    with pytest.raises(EngineError, match="no data file"):
        examine_apart(Asked((str(tmp_path / "gone.jsonl"),)))


def test_an_examination_can_be_cancelled(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in good(2000)))
    seen: list[int] = []
    with pytest.raises(Cancelled):
        examine_files(Asked((str(path),), {}, str(model)), progress=seen.append, cancelled=lambda: True)
    assert len(seen) == 1
    with pytest.raises(Cancelled):
        examine_apart(Asked((str(path),), {}, str(model)), cancelled=lambda: True)


def test_an_answer_that_stands_in_the_end_token_has_an_end_all_the_same(examine: Callable[..., Report]) -> None:
    rows = good()
    for row, answer in zip(rows, ("end", "im", "|", "m_e"), strict=False):
        row["output"] = answer
    assert examine(rows).findings == ()


def test_a_line_of_megabytes_is_told_from_its_beginning(examine: Callable[..., Report]) -> None:
    rows = good()
    rows[6]["output"] = "word " * 1_000_000
    rows[8]["instruction"] = "word " * 1_000_000
    found = by_code(examine(rows))
    assert {code: numbers(one) for code, one in found.items()} == {"answer-cut": [7], "trains-on-nothing": [9]}
    assert found["answer-cut"].message.startswith("1 row of 40 is longer than max_length 200")
    assert "(more than 199" in found["answer-cut"].message


def test_equal_rows_are_looked_for_among_so_many_and_no_more(
    examine: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_REMEMBERED", 10)
    rows = good()
    rows[30], rows[31] = dict(rows[2]), dict(rows[20])
    found = by_code(examine(rows))
    assert numbers(found["duplicate-row"]) == [31]
    assert found["not-compared"].grade == "note"


def test_what_is_accepted_must_be_something_that_is_found(examine: Callable[..., Report]) -> None:
    with pytest.raises(ConfigError, match="answers-cut is nothing"):
        examine(good()).refuse(["answers-cut"])


def test_every_code_the_doctor_gives_is_declared() -> None:
    assert set(doctor._WORDS) | set(doctor._LEFT_OUT) <= set(CODES)


def test_files_without_a_row_are_told_what_a_row_is(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n\n")
    (finding,) = doctor.examine_files(doctor.Asked((str(path),))).findings
    assert (finding.code, finding.grade, finding.message) == (
        "no-rows",
        "grave",
        "There is no row in the training data",
    )
    assert '"instruction"' in finding.remedy


def test_a_text_without_an_end_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_text('{"instruction": "q1", "output": "a1\n{"instruction": "q2", "output": "a2"}\n')
    (finding,) = doctor.examine_files(doctor.Asked((str(path),))).findings
    assert (finding.code, [line for _, line in finding.lines]) == ("malformed-line", [1])
    assert " at at " not in finding.message
