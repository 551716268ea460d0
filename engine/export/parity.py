"""Prove that a fine-tuned model is the same in every form: adapter on base, merged folder, GGUF files, a server's.

Each form is asked the same prompts, greedily, in a process of its own (a server from this one); no torch here. What
decides is named: base, template, tokens of the prompts, the token that ends an answer, the beginning of the sequence,
answers, logits.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from engine.errors import EngineError, NotFound, UsageError, WorkspaceError
from engine.events import number_from_json
from engine.export.beside import beside, put
from engine.export.merge import merge, parts_of, plan_merge
from engine.export.progress import Cancelled, Tell, never, run, silent
from engine.export.proof import VERDICTS, Check, FormProof, Proof, around, first_difference
from engine.export.quantisation import ALL
from engine.export.server_form import ask_server, judge_server, not_asked
from engine.spec import Endpoint, LocalModel, base_folder, prove_base
from engine.weights import read_json

_Pair: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""What the reference and a form made of one prompt."""
PROMPTS = (
    "What is 2+2?",
    "Who wrote Romeo and Juliet?",
    "What is the capital of France?",
    "Who was the first person to walk on the moon?",
    "When did World War II end?",
    "What is a smartphone?",
    "Hello! How are you?",
    "Say yes.\n\n```python\nprint('ä ß 你好 🙂')\n```",
)
"""Asked unless others are given. The last has what tokenizers disagree on."""
RECORD = "parity.json"
# Mean KL in nats. Measured on a model of 3 million weights, whose rows are short and which suffers most: f16 7e-7,
# q8_0 4e-4, q6_k 3e-3, q5_k_m 1.3e-2, q4_k_m 4.4e-2, q3_k_m 0.17.
_LIMITS = {
    "f32": 1e-5, "f16": 1e-5, "bf16": 1e-3, "q8_0": 1e-3, "q6_k": 1e-2, "q5_k_m": 5e-2, "q4_k_m": 0.1, "q4_k_s": 0.1,
    "q3_k_m": 0.5, "float32": 1e-5, "float16": 1e-4, "bfloat16": 1e-3,
}  # fmt: skip
_OTHER_LIMIT = 0.5
_FILE_TYPES = {one.ftype: one.name for one in ALL.values()}


def prove(
    model: LocalModel,
    against: Sequence[Path | Endpoint],
    *,
    prompts: Sequence[str] = PROMPTS,
    max_new_tokens: int = 32,
    allow_pickle: bool = False,
    tell: Tell = silent,
    cancelled: Cancelled = never,
) -> Proof:
    """Ask every form the same and compare. The record is left beside each (see `record_of`) and in the run's
    checkpoint.

    Args:
        model: The reference, from `engine.spec.local_model`.
        against: Merged folders, GGUF files and servers; none: the model is merged for the proof, and that is thrown
            away. A server is asked only when it is named.
        prompts: Questions by a user.
        max_new_tokens: Longest answer.
        allow_pickle: Whether weights in pickles may be read.
        tell: Called with every progress.
        cancelled: True ends the work.

    Raises:
        NotFound: A form is not there.
        UsageError: There are no prompts, or one is too long.
        BaseMissing, BaseChanged: As `engine.spec.prove_base`.
        EngineError: A form cannot be loaded. That it says something else is no error, and a server that does not
            answer is a form with the verdict "not-asked".
    """
    if not prompts:
        raise UsageError("There are no prompts to ask.", remedy="One on each line of the file.")
    files = [form for form in against if isinstance(form, Path)]
    for path in files:
        if not path.exists():
            raise NotFound(f"There is no {path}.", remedy="Name a merged folder, a .gguf file or a server.")
    base = prove_base(model)
    folder = base_folder(model)
    if folder is None:
        raise NotFound(f"The base {base.given} is not on this machine.", remedy=f"Fetch it: hf download {base.source}")
    if not against and model.adapter is None:
        raise UsageError(
            f"{model.label} is a whole model, and nothing was named to hold it against.",
            remedy="Name a GGUF file, a folder or a server with --against.",
        )
    # Of a proof that was killed gigabytes may lie there, which the next one clears.
    with beside(Path(tempfile.gettempdir()) / "parity") as place:
        kept = place / "logits"
        kept.mkdir()
        forms = [form.absolute() if isinstance(form, Path) else form for form in against]
        if not forms:
            forms = [merge(plan_merge(model, place / "merged", dtype="float32", allow_pickle=allow_pickle),
                           tell=tell, cancelled=cancelled).path]  # fmt: skip
        common = {"prompts": list(prompts), "max_new_tokens": max_new_tokens, "folder": str(kept)}

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            return run(
                "engine.export.parity_worker", {**common, **request}, what="The proof", tell=tell, cancelled=cancelled
            )

        reference = ask(
            {
                "form": "transformers",
                "label": model.label,
                "parts": parts_of(model, base, allow_pickle),
                "base_folder": str(folder),
                "tokenizer": None if model.tokenizer is None else str(model.tokenizer),
                "chat_template": model.chat_template,
                "reference": None,
            }
        )
        proven = []
        for form in forms:
            if isinstance(form, Path):
                request = {"label": form.name, "reference": reference["asked"], **_request(form)}
                found = ask(request)
                proven.append(_judge(form, request["form"], reference, found, base.fingerprint))
                continue
            try:
                said = ask_server(form, prompts, max_new_tokens, tell=tell, cancelled=cancelled)
                proven.append(judge_server(form, reference, said))
            except EngineError as error:
                proven.append(not_asked(form, len(prompts), error))
    proof = Proof(
        model.label,
        base.given,
        base.fingerprint,
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(prompts),
        tuple(one["answer"] for one in reference["asked"]),
        tuple(proven),
    )
    for path in files:
        _write(record_of(path), proof)
    if model.run is not None and model.adapter is not None:
        with contextlib.suppress(WorkspaceError):  # a run that may only be read is proven all the same
            _write(model.adapter / RECORD, proof)
    return proof


def record_of(path: Path) -> Path:
    """Return where the record of a form lies: in a folder, and beside a file as `NAME.parity.json`."""
    return path / RECORD if path.is_dir() else path.with_name(f"{path.stem}.{RECORD}")


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record beside a form, as `Proof.as_dict`; None where there is none."""
    found = read_json(record_of(path))
    return found if found.get("verdict") in VERDICTS else None


def forms_in(record: Mapping[str, Any]) -> tuple[FormProof, ...]:
    """Return the forms that a record tells of. It may be anybody's: what is none of a form or check is passed over."""
    forms = record.get("forms")
    return tuple(
        FormProof(
            path=str(one["path"]),
            kind=one["kind"] if one.get("kind") in ("gguf", "server") else "merged",
            type=str(one.get("type") or ""),
            verdict=one["verdict"],
            checks=tuple(_checks_in(one)),
            equal_answers=_count(one.get("equal_answers")),
            num_prompts=_count(one.get("num_prompts")),
            max_abs=_number(one.get("max_abs")),
            mean_kl=_number(one.get("mean_kl")),
            argmax_agreement=_number(one.get("argmax_agreement")),
            failure=_words_in(one.get("failure")),
        )
        for one in (forms if isinstance(forms, list) else [])
        if isinstance(one, dict) and isinstance(one.get("path"), str) and one.get("verdict") in VERDICTS
    )


def _number(value: Any) -> float | None:
    return None if value is None else number_from_json(value)


def _words_in(value: object) -> dict[str, str] | None:
    return {str(name): str(said) for name, said in value.items()} if isinstance(value, dict) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _checks_in(form: Mapping[str, Any]) -> Iterator[Check]:
    checks = form.get("checks")
    for one in checks if isinstance(checks, list) else ():
        if isinstance(one, dict) and isinstance(one.get("passed"), bool | None) and isinstance(one.get("name"), str):
            yield Check(one["name"], one["passed"], str(one.get("said") or ""))


def _request(path: Path) -> dict[str, Any]:
    if path.is_file():
        return {"form": "gguf", "path": str(path)}
    parts = {"source": str(path), "commit": None, "adapter": None, "trust_remote_code": False, "allow_pickle": False}
    return {"form": "transformers", "parts": parts, "base_folder": str(path), "tokenizer": None, "chat_template": None}


def _judge(path: Path, kind: str, reference: dict[str, Any], found: dict[str, Any], fingerprint: str) -> FormProof:
    stored = _type_of(path)
    limit = _LIMITS.get(stored, _OTHER_LIMIT)
    far = found["difference"]
    pairs = list(zip(reference["asked"], found["asked"], strict=True))
    equal = sum(_said(one, reference["stops"]) == _said(other, found["stops"]) for one, other in pairs)
    checks = [
        _base(path, fingerprint, far["mean_kl"], limit),
        _template(reference["template"], found["template"]),
        _prompt_tokens(pairs),
        _beginning(pairs, found["bos"]),
        _end(reference, found),
        _answers(pairs, equal, reference["stops"], found["stops"], exact=stored in ("f32", "f16", "float32")),
        Check(
            "logits",
            far["mean_kl"] <= limit,
            f"mean KL {far['mean_kl']:.2g} nats (at most {limit:g} for {stored or 'its type'}), largest difference "
            f"{far['max_abs']:.2g}, {far['argmax_agreement']:.1%} the same first token.",
        ),
    ]
    passed = all(check.passed for check in checks)
    return FormProof(
        path=str(path),
        kind="gguf" if kind == "gguf" else "merged",
        type=stored,
        verdict="different" if not passed else "same" if equal == len(pairs) else "close",
        checks=tuple(checks),
        equal_answers=equal,
        num_prompts=len(pairs),
        max_abs=far["max_abs"],
        mean_kl=far["mean_kl"],
        argmax_agreement=far["argmax_agreement"],
    )


def _type_of(path: Path) -> str:
    if path.is_dir():
        config = read_json(path / "config.json")
        return str(config.get("dtype") or config.get("torch_dtype") or "")
    from engine.export.gguf_header import read_gguf

    return _FILE_TYPES.get(read_gguf(path).number("general.file_type") or 0, "")


def _base(path: Path, fingerprint: str, mean_kl: float, limit: float) -> Check:
    """Judge which base a form was made from: by its record, else by how far its logits are away."""
    recorded = read_json(path / "merge.json").get("base") if path.is_dir() else None
    recorded = recorded if isinstance(recorded, dict) else {}
    theirs = recorded.get("fingerprint")
    if theirs and fingerprint:
        same = theirs == fingerprint
        said = "the one it was trained on." if same else f"it was merged into {recorded.get('given')}, another model."
        return Check("base", same, said)
    if mean_kl > max(20 * limit, 0.5):
        return Check("base", False, "its logits are those of another model: another base, or another checkpoint.")
    return Check("base", True, "nothing speaks against it.")


def _template(ours: str, theirs: str) -> Check:
    if ours.strip() == theirs.strip():
        return Check("template", True, "the same text.")
    if not theirs:
        return Check("template", False, "it has none.")
    at = first_difference(ours, theirs)
    line = ours.count("\n", 0, at) + 1
    return Check(
        "template", False, f"differs from line {line} on: {around(ours, at)!r} has become {around(theirs, at)!r}."
    )


def _prompt_tokens(pairs: Sequence[_Pair]) -> Check:
    for number, (one, other) in enumerate(pairs, 1):
        ours, theirs = one["prompt_ids"], other["prompt_ids"]
        if ours != theirs:
            at = first_difference(ours, theirs)
            return Check(
                "prompt tokens",
                False,
                f"prompt {number} differs from token {at + 1} on: {ours[at : at + 5]} became {theirs[at : at + 5]}.",
            )
    return Check("prompt tokens", True, f"equal in all {len(pairs)} prompts.")


def _beginning(pairs: Sequence[_Pair], bos: int | None) -> Check:
    """Judge how often a prompt begins with the beginning-of-sequence token."""
    ours, theirs = (_leading(pairs[0][side]["prompt_ids"], bos) for side in (0, 1))
    if ours == theirs:
        return Check("beginning of sequence", True, f"{ours} such token." if ours else "no such token, in none.")
    return Check("beginning of sequence", False, f"{theirs} such tokens where training had {ours}.")


def _leading(ids: Sequence[int], bos: int | None) -> int:
    return next((number for number, token in enumerate(ids) if token != bos), len(ids))


def _end(reference: dict[str, Any], found: dict[str, Any]) -> Check:
    end = reference["turn_end"]
    if not isinstance(end, int):
        return Check("end of answer", True, "the template puts no token behind an answer.")
    if end in found["stops"]:
        return Check("end of answer", True, f"it stops at token {end}, which ends an answer.")
    return Check("end of answer", False, f"it does not stop at token {end}, which ends an answer: it will not stop.")


def _answers(
    pairs: Sequence[_Pair],
    equal: int,
    ours: list[int],
    theirs: list[int],
    *,
    exact: bool,
) -> Check:
    said = f"{equal} of {len(pairs)} equal."
    if equal == len(pairs):
        return Check("answers", True, said)
    number, (one, other) = next(
        (n, pair) for n, pair in enumerate(pairs, 1) if _said(pair[0], ours) != _said(pair[1], theirs)
    )
    at = first_difference(one["answer"], other["answer"])
    said += f" Prompt {number}: {around(one['answer'], at)!r} has become {around(other['answer'], at)!r}."
    return Check("answers", not exact, said)


def _said(asked: dict[str, Any], stops: Sequence[int]) -> list[int]:
    """Return an answer without the token it stopped at: forms may have several that end it."""
    ids: list[int] = asked["answer_ids"]
    return ids[:-1] if ids and ids[-1] in stops else ids


def _write(path: Path, proof: Proof) -> None:
    with beside(path) as folder:
        made = folder / path.name
        made.write_text(json.dumps(proof.as_dict(), indent=2) + "\n", encoding="utf-8")
        put(made, path, replace=True)
