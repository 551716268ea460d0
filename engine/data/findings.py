"""What the doctor says: findings in three grades, with lines and remedies, and where every row went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine.errors import ConfigError, DataError

Grade = Literal["grave", "warning", "note"]
SHOWN_LINES = 20
CODES: Mapping[str, str] = {
    "malformed-line": "lines that cannot be read",
    "unusable-row": "rows that are no example",
    "empty-answer": "answers that are empty",
    "unknown-role": "roles that no chat template knows",
    "other-kind": "rows the method does not learn from",
    "other-type": "rows that are neither to unlearn nor to retain",
    "mixed-shapes": "rows of several kinds in one split",
    "no-rows": "no row to learn from",
    "template-missing": "the model has no chat template",
    "template-refuses": "conversations the chat template refuses",
    "template-endless": "a chat template that does not end",
    "template-ignores-content": "text the chat template leaves out",
    "eos-not-trained": "answers without an end",
    "double-bos": "two beginnings of sequence",
    "control-tokens": "control tokens in the text of a message",
    "trains-on-nothing": "questions that fill the whole length",
    "answer-cut": "answers that are cut off",
    "duplicate-row": "rows there are twice",
    "not-compared": "more rows than are compared with each other",
    "validation-leak": "validation questions that are trained on",
    "chosen-equals-rejected": "pairs that prefer nothing",
    "length-bias": "preferred answers that are mostly longer, or shorter",
    "label-imbalance": "far more of one label than of the other",
    "retain-unlearn-imbalance": "far more to retain than to unlearn, or the other way round",
}
"""Every code there is, and what it is about."""
NEVER_ACCEPTED = ("malformed-line", "no-rows")
"""A damaged file is not trained on in part, whatever `data.accept` names: `check_file` refuses it."""


class DataRefused(DataError):
    """The doctor found something so grave that the run would be a waste."""

    code = "data-refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    code: str
    grade: Grade
    """grave: a run does not start unless `data.accept` names the code."""
    count: int
    """Rows it is true of; 1 for what is true of the whole."""
    lines: tuple[tuple[str, int], ...]
    """The first of them: path and line, 1 the first. Empty for what is true of the whole."""
    message: str
    remedy: str
    left_out: bool = False
    """Whether these rows are not trained on. Each such row is in one finding only."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found. `rows_in == rows_kept + rows_listed`."""

    findings: tuple[Finding, ...]
    """The gravest first."""
    rows_in: int
    """Lines that are not blank, over all files."""
    rows_kept: int
    rows_listed: int
    """Rows left out, each with its reason in a finding."""
    with_template: bool = False
    """Whether a chat template was at hand; without one nothing is known about length and masks."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, read: Mapping[str, Any]) -> Report:
        """Return what `as_dict` gave."""
        findings = tuple(
            Finding(**{**one, "lines": tuple((path, line) for path, line in one["lines"])}) for one in read["findings"]
        )
        return cls(findings, read["rows_in"], read["rows_kept"], read["rows_listed"], read["with_template"])

    def refuse(self, accepted: Sequence[str]) -> None:
        """Raise when something grave was found that nobody accepted.

        Raises:
            ConfigError: What is accepted is no finding there is.
            DataRefused: With all of it, and how to start all the same.
        """
        if unknown := [code for code in accepted if code not in CODES]:
            raise ConfigError(
                [f"data.accept: {code[:60]} is nothing that `ftconsole data check` finds" for code in unknown],
                remedy=f"Its findings are {', '.join(CODES)}.",
            )
        grave = [one for one in self.findings if one.grade == "grave" and one.code not in accepted]
        if not grave:
            return
        said = " ".join(f"{one.message} ({one.code}{where(one, 3)})." for one in grave)
        codes = ", ".join(one.code for one in grave)
        raise DataRefused(
            f"The data would be wasted on this model: {said}",
            remedy=f"{grave[0].remedy} To start all the same, set data.accept: [{codes}].",
        )


def where(finding: Finding, limit: int) -> str:
    """Return the first lines as `, train.jsonl lines 3, 9`; empty when it is about the whole."""
    if not finding.lines:
        return ""
    path = finding.lines[0][0]
    lines = [str(line) for other, line in finding.lines if other == path][:limit]
    name = path.replace("\\", "/").rpartition("/")[2]
    more = " ..." if finding.count > len(lines) else ""
    return f", {name} line{'s' if len(lines) > 1 else ''} {', '.join(lines)}{more}"
