"""A model's chat template and tokenizer without torch: `jinja2` in a sandbox, and `tokenizers`.

Renders what `transformers.PreTrainedTokenizerBase.apply_chat_template` (5.23) renders; tests hold the two against each
other. A template is a program that came with a model: it can read nothing but the messages, and one that does not end
is stopped.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.data import template_sizes
from engine.errors import DataError, NotFound
from engine.workspace import ModelReference

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RENDER_SECONDS = 5.0
"""What one row may take. A long one takes a thousandth of that."""
MAX_RENDERED = 128 << 20
"""Characters a template may write: twice the longest line. One that multiplies a text takes gigabytes in a single step,
which no timer interrupts."""
TEMPLATE_FAILS: Final = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What a template may end with besides jinja2's own errors: it is a program."""
_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MARKS = re.compile(r"<\|[^|<>\s'\"]{1,40}\|>|\[/?[A-Z_]{2,24}\]|</?[a-z]+_of_[a-z]+>|<</?SYS>>|</?s>")
"""How templates write the turns' marks, whether or not the tokenizer has tokens of their own for them."""


class TemplateMissing(DataError):
    """The tokenizer has no chat template, so questions and answers cannot be told apart."""

    code = "template-missing"


class TemplateRefuses(DataError):
    """The template raised an error on a row: a role it does not know, turns in an order it does not take."""

    code = "template-refuses"


class TemplateEndless(DataError):
    """The template did not end on one row, and was stopped."""

    code = "template-endless"


@dataclass(frozen=True)
class ChatTemplate:
    """A template, the special tokens it is given, and the tokenizer behind it."""

    source: str
    special: dict[str, str]
    """By the name templates know them by, such as `bos_token`."""
    ends: frozenset[str]
    """Tokens that end an answer: the tokenizer's and those generation stops at."""
    tokenizer_file: Path
    render_seconds: float = RENDER_SECONDS
    _special_tokens: tuple[str, ...] = field(default=())

    @cached_property
    def controls(self) -> re.Pattern[str]:
        """Matches what a message must not contain: special tokens, and marks that the template writes."""
        plain = {token for token in self._special_tokens if not token.isalnum() and len(token) > 2}
        marks = sorted(plain | set(_MARKS.findall(self.source)) | self.ends, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, marks)) or r"(?!)")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.tokenizer_file))

    @cached_property
    def may_grow(self) -> bool:
        """Whether a text can have more tokens than UTF-8 bytes, because the tokenizer spells characters out first."""
        return "NFK" in str(self.tokenizer.normalizer) or "Precompiled" in str(self.tokenizer.normalizer)

    @cached_property
    def _compiled(self) -> Any:
        return _compile(self.source)

    def render(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        """Return the conversation as text.

        The limit holds in a process's main thread only: nothing can stop another one. Inside `many_rendered` it costs
        nothing.

        Raises:
            TemplateRefuses: The template raises an error on it.
            TemplateEndless: It did not end within `render_seconds`.
        """
        import jinja2

        try:
            with _WATCH if _WATCH.active else time_limit(self.render_seconds):
                rendered: str = self._compiled.render(
                    messages=messages,
                    tools=None,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                    **self.special,
                )
        except OutOfTime:
            raise TemplateEndless(
                f"The chat template did not end within {self.render_seconds:g} s on one row, and was stopped.",
                remedy="Use the template of the model's publisher, or set model.chat_template to one that ends.",
            ) from None
        except (jinja2.TemplateError, *TEMPLATE_FAILS) as error:
            raise _refused((str(error).strip().splitlines() or [type(error).__name__])[0]) from None
        if len(rendered) > MAX_RENDERED:
            raise _refused(f"it writes {len(rendered):,} characters")
        return rendered

    def encode(self, text: str) -> list[int]:
        """Return the token ids, as training has them: without tokens that the template did not write."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each, on all cores."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def load_template(
    folder: Path,
    *,
    override: str | None = None,
    eos_token: str | None = None,
    render_seconds: float = RENDER_SECONDS,
) -> ChatTemplate:
    """Return the template of a model folder.

    Args:
        folder: With `tokenizer.json`, as `save_pretrained` and the Hub's cache have it.
        override: Text of a template that stands for the model's own, as `model.chat_template` says.
        eos_token: Ends a row instead of the tokenizer's own, as `trainer.eos_token` says.
        render_seconds: What one row may take.

    Raises:
        TemplateMissing: There is none, and no override.
        NotFound: The tokenizer is missing or in a form that only its own class can read.
        DataError: The template is no Jinja, or the tokenizer does not know `eos_token`.
    """
    settings = _json(folder / "tokenizer_config.json")
    source = override if override is not None else _source(folder, settings)
    if source is None:
        raise TemplateMissing(
            f"The tokenizer of {folder.name} has no chat template, so questions and answers cannot be told apart.",
            remedy="Use an instruct model, or set model.chat_template to a .jinja file.",
        )
    tokenizer_file = folder / "tokenizer.json"
    if not tokenizer_file.is_file():
        raise NotFound(
            f"{folder} has no tokenizer.json.", remedy="Save the tokenizer once with transformers' save_pretrained."
        )
    tokenizer = _json(tokenizer_file)
    tokens = tokenizer.get("added_tokens", [])
    added = {token["id"]: token["content"] for token in tokens}
    special = _special(folder, settings)
    if eos_token is not None:
        if eos_token not in added.values() and eos_token not in tokenizer.get("model", {}).get("vocab", ()):
            raise DataError(
                f"The tokenizer of {folder.name} has no token {eos_token[:80]!r}.",
                remedy=f"Set trainer.eos_token to one it has{_such_as(tokens)}, or leave it out.",
            )
        special["eos_token"] = eos_token
    template = ChatTemplate(
        source,
        special,
        frozenset({added[number] for number in end_ids(folder) if number in added} | _eos(special)),
        tokenizer_file,
        render_seconds,
        tuple(token["content"] for token in tokens if token.get("special", True)),
    )
    import jinja2

    try:
        _ = template._compiled
    except jinja2.TemplateError as error:
        raise DataError(
            f"The chat template is no valid Jinja: {str(error).splitlines()[0][:200].rstrip('.')}.",
            remedy="Correct it, or set model.chat_template to another .jinja file.",
        ) from None
    return template


def _refused(why: str) -> TemplateRefuses:
    return TemplateRefuses(
        f"The chat template refuses this conversation: {why[:200]}",
        remedy="Change the roles or the order of its messages, or set model.chat_template to another template.",
    )


def local_folder(model: ModelReference) -> Path | None:
    """Return where a model's tokenizer lies on this machine; None when it has yet to be fetched."""
    if model.path is not None:
        return model.path
    from engine.runs.provenance import cached_commit

    home = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"), "hub"
    )
    commit = cached_commit(model.name, model.revision)
    folder = Path(home) / f"models--{model.name.replace('/', '--')}" / "snapshots" / commit
    return folder if commit and (folder / "tokenizer.json").is_file() else None


def _source(folder: Path, settings: dict[str, Any]) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    found = _json(folder / "chat_template.json").get("chat_template") or settings.get("chat_template")
    if isinstance(found, list):  # named templates: transformers takes the one called default
        found = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}.get("default")
    return found if isinstance(found, str) else None


def _special(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    older = _json(folder / "special_tokens_map.json")
    found = {}
    for name in _TOKEN_NAMES:
        value = settings.get(name, older.get(name))
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            found[name] = content
    return found


def end_ids(folder: Path) -> set[int]:
    """Return the tokens at which generation stops, as the model's folder says."""
    found = set()
    for name in ("generation_config.json", "config.json"):
        ids = _json(folder / name).get("eos_token_id")
        found |= {number for number in (ids if isinstance(ids, list) else [ids]) if isinstance(number, int)}
    return found


def _such_as(tokens: Sequence[dict[str, Any]]) -> str:
    shown = [token["content"] for token in tokens if token.get("special", True)][:5]
    return f", such as {', '.join(shown)}" if shown else ""


def _eos(special: dict[str, str]) -> set[str]:
    return {special["eos_token"]} if special.get("eos_token") else set()


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


class OutOfTime(Exception):  # caught where the time was limited
    """What was to end has not."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what is done inside after so long, in the main thread; other threads cannot be interrupted.

    Raises:
        OutOfTime: From wherever it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)


class _Watch:
    """Counts renderings, so that a timer can tell whether one lasts from one tick to the next."""

    def __init__(self) -> None:
        self.active = self.rendering = False
        self.count = self.seen = 0

    def __enter__(self) -> None:
        self.rendering = True
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.rendering = False

    def tick(self, *_: object) -> None:
        if self.rendering and self.seen == self.count:
            raise OutOfTime
        self.seen = self.count


_WATCH = _Watch()


@contextlib.contextmanager
def many_rendered(seconds: float) -> Iterator[None]:
    """Stop any rendering inside that lasts longer than `seconds`, and at most twice as long, by a single timer.

    A timer for each would be a fifth of the time of a short row. In the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _WATCH.tick)
    _WATCH.active = True
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        _WATCH.active = False


def _compile(source: str) -> Any:
    """Compile as `transformers.utils.chat_template_utils` does, without following what is generated."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Reads `{% generation %}`, which marks what the assistant says, and renders what is in it."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 names it so

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    class Namespace(jinja2.utils.Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"a namespace may not have an attribute {name!r}")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form: str) -> str:
        from datetime import datetime

        return datetime.now().strftime(form)

    class Sandbox(ImmutableSandboxedEnvironment):
        """Refuses the steps that make a huge text of a small one. Unlike others, those are not done when compiling."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            bounded(operator, template_sizes.of_operation(operator, left, right))
            return super().call_binop(context, operator, left, right)

        def call(self, __context: Any, __obj: Any, *arguments: Any, **named: Any) -> Any:
            if isinstance(getattr(__obj, "__self__", None), str):
                bounded(__obj.__name__, template_sizes.of_call(__obj.__name__, arguments, named))
            return super().call(__context, __obj, *arguments, **named)

        def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
            made = super().wrap_str_format(value)
            if made is None:
                return None

            def measured(*given: Any, **named: Any) -> str:
                bounded("format", template_sizes.of_braces(value.__self__, [*given, *named.values()]))
                return made(*given, **named)

            return measured

    def bounded(name: str, size: int) -> None:
        if size > MAX_RENDERED:
            raise jinja2.exceptions.SecurityError(f"{name} makes something too large")

    def widening(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(made)  # jinja2's own marks on it, too
        def filtered(*given: Any, **named: Any) -> Any:
            bounded(name, template_sizes.of_widths([*given, *named.values()]))
            return made(*given, **named)

        return filtered

    def formatted(value: Any, *given: Any, **named: Any) -> str:
        bounded("format", template_sizes.of_percent(str(value), [*given, *named.values()]))
        return jinja2.filters.do_format(value, *given, **named)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    for name in template_sizes.WIDENING_FILTERS:
        environment.filters[name] = widening(name, environment.filters[name])
    environment.filters |= {"format": formatted, "tojson": tojson}
    environment.globals.update(
        raise_exception=raise_exception, strftime_now=strftime_now, namespace=Namespace, dict=dict
    )
    return environment.from_string(source)
