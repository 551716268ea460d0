"""The process behind local chat: `python -P -m engine.chat.worker`. A base in memory, adapters as they are needed.

JSON lines on stdin: first the base, then questions, adapters to have ready, and rows to stop. JSON lines on stdout:
text as it comes. It ends with its stdin, or with the process that started it, and takes the GPU's memory with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.chat.asking import Message, Question, Sampling
from engine.errors import DeviceFault, EngineError, OutOfMemory, WorkerFailed
from engine.training.libraries import importing, stored_quantised, without_bitsandbytes

if TYPE_CHECKING:
    from engine.chat.answer_row import AnswerRow, KeyValues
    from engine.chat.batch import SharedModel
    from engine.chat.prompting import Prompter

_PARENT_SECONDS = 2.0
"""How often it is looked whether the console is still there. Its end closes stdin; another of its children may hold
the other side of that pipe open."""
_ADAPTERS = 6
"""How many are kept in memory beside each other; the one not used for longest goes first."""
_MEMORIES = 2
"""Conversations that need not be read again: one a side."""
_NO_END = 10**9


@dataclass(slots=True)
class _Loaded:
    name: str
    """PEFT's, which allows no dots."""
    stamp: int
    """Modification of its weights: `best` is another one after the next evaluation."""
    used: float


class Inbox:
    """What is said to the process, read beside the work so that a stop is heard at the next token."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped: set[int] = set()
        """Rows to stop."""

    def listen(self) -> None:
        """Read until stdin or the parent ends, then end the process."""
        parent, rest = os.getppid(), b""
        descriptor = sys.stdin.fileno()
        while True:
            if not select.select([descriptor], [], [], _PARENT_SECONDS)[0]:
                if os.getppid() != parent:
                    break
                continue
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                said = {**json.loads(line), "received": time.monotonic()}
                if "stop" in said:
                    self.stopped.update(said["stop"])
                self.waiting.put(said)
        os._exit(0)  # whatever the main thread computes: nobody wants it, and somebody may want the GPU


class Worker:
    """The base, its adapters, and the rows that are being answered."""

    def __init__(self, base: Mapping[str, Any], say: Any, inbox: Inbox) -> None:
        self.base = base
        self.say = say
        self.inbox = inbox
        self.rows: list[AnswerRow] = []
        self.adapters: dict[str, _Loaded] = {}
        self.prompters: dict[tuple[str, str | None], Prompter] = {}
        self.memories: list[KeyValues] = []
        self.since = 0.0
        """Monotonic time from which it can answer."""
        self._numbers = 0
        self.shared: SharedModel
        self.ends: frozenset[int]

    def load(self) -> None:
        """Load the base.

        Raises:
            EngineError: It cannot be loaded.
        """
        self.say({"progress": "loading the libraries"})
        base = self.base
        if base["bits"] is None and not stored_quantised(base["source"], base["revision"]):
            without_bitsandbytes()
        with importing():
            import torch
            from transformers import BitsAndBytesConfig

            from engine.chat.batch import SharedModel
            from engine.training.loading import pick_device, pretrained

        device = pick_device(base["device"])
        dtype = getattr(torch, base["dtype"])
        self.say({"progress": f"loading {base['label']}"})
        arguments: dict[str, Any] = {"dtype": dtype, "revision": base["revision"]}
        if base["bits"] == 4:
            arguments["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
        elif base["bits"] == 8:
            arguments["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        if device.type != "cpu":
            arguments["device_map"] = {"": device}  # straight to the device: half the memory of the host
        trusted = base["trust_remote_code"]
        model = pretrained(base["source"], base["label"], trust_remote_code=trusted, **arguments).eval()
        self.ends = _ends_of(model)
        self.shared = SharedModel(model)
        self.since = time.monotonic()
        where = f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
        self.say({"ready": {"device": where, "context": _context(model.config), "remembers": self.shared.remembers}})

    def work(self) -> None:
        """Answer until the process is ended."""
        while True:
            self._read(wait=not self.rows)
            groups = self.shared.together(self.rows)
            for group in groups:
                most = _turn_tokens() if len(groups) > 1 else _NO_END
                failure: EngineError | None = None
                try:
                    self.shared.go_on(group, most=most, interrupted=self._interrupted)
                except Exception as error:  # noqa: BLE001 - the libraries', about these rows: the next may be fine
                    traceback.print_exc()
                    failure = _explained(error, "answering")
                if failure is not None:  # the exception is gone by now, and with it the tensors it held
                    self._fail(group, failure)
            for row in [row for row in self.rows if row.ended]:
                self.rows.remove(row)
                if row.memory is not None:
                    self.memories = [row.memory, *self.memories][:_MEMORIES]
                row.memory = None

    def _read(self, *, wait: bool) -> None:
        while wait or not self.inbox.waiting.empty():
            said = self.inbox.waiting.get()
            if "ask" in said:
                for asked in said["ask"]:
                    self._take({**asked, "received": said["received"]})
            elif "have" in said:
                self._have(said["have"])
            self._mark_stopped()
            for row in [row for row in self.rows if row.stop_asked]:
                row.end("stopped")
                self.rows.remove(row)
            wait = wait and not self.rows

    def _interrupted(self) -> bool:
        self._mark_stopped()
        return not self.inbox.waiting.empty()

    def _mark_stopped(self) -> None:
        for row in self.rows:
            row.stop_asked = row.stop_asked or row.id in self.inbox.stopped

    def _take(self, asked: Mapping[str, Any]) -> None:
        """Make a row of a question, or say why there will be no answer."""
        number = int(asked["row"])
        try:
            self.rows.append(self._row(number, asked))
        except EngineError as error:
            self.say({"row": number, "error": _told(error)})
        except Exception as error:  # noqa: BLE001 - a tokenizer's or PEFT's, about this side: the other may be fine
            traceback.print_exc()
            self.say({"row": number, "error": _told(_explained(error, "reading the question"))})

    def _row(self, number: int, asked: Mapping[str, Any]) -> AnswerRow:
        from engine.chat.answer_row import AnswerRow
        from engine.chat.streamed_text import StreamedText

        given = asked["question"]
        question = Question(
            tuple(Message(**one) for one in given["messages"]),
            Sampling(**{**given["sampling"], "stop": tuple(given["sampling"]["stop"])}),
            given["prefix"],
        )
        adapter = self._adapter(asked["adapter"])
        folder = asked["tokenizer"]
        prompter = self._prompter(folder, asked["chat_template"], asked["label"])
        prompt = prompter.prompt(question)
        text = StreamedText(prompter.decode, stop=question.sampling.stop, before=prompter.before(question, prompt))
        return AnswerRow(
            id=number,
            adapter=adapter,
            prompt=prompt,
            sampling=question.sampling,
            max_tokens=prompter.room(prompt, question.sampling.max_tokens),
            ends=prompter.ends(self.ends, Path(folder) if folder else None),
            text=text,
            say=self.say,
            asked=max(asked["received"], self.since),  # loading is told apart, and is not the answer's time
            memory=self._remembered(adapter, prompt),
        )

    def _remembered(self, adapter: str, prompt: list[int]) -> KeyValues | None:
        """Take out what is remembered of the longest beginning of this conversation."""
        fitting = [(_shared_length(one.ids, prompt), one) for one in self.memories if one.adapter == adapter]
        length, best = max(fitting, key=lambda pair: pair[0], default=(0, None))
        if best is None or not length:
            return None
        self.memories = [one for one in self.memories if one is not best]
        return best

    def _have(self, asked: Mapping[str, Any]) -> None:
        """Load an adapter and a tokenizer before they are asked."""
        try:
            self._adapter(asked["adapter"])
            self._prompter(asked["tokenizer"], asked["chat_template"], asked["label"])
        except EngineError as error:
            self.say({"had": asked["number"], "error": _told(error)})
        except Exception as error:  # noqa: BLE001 - PEFT's: it does not fit, or there is no memory for it
            traceback.print_exc()
            self.say({"had": asked["number"], "error": _told(_explained(error, f"loading {asked['label']}"))})
        else:
            self.say({"had": asked["number"]})

    def _adapter(self, asked: Mapping[str, Any] | None) -> str:
        """Return PEFT's name of an adapter, loaded when it is not; the base has one as well."""
        from engine.chat.answer_row import BASE

        if asked is None:
            return BASE
        path = Path(asked["path"])
        stamp = (path / "adapter_model.safetensors").stat().st_mtime_ns
        known = self.adapters.get(str(path))
        if known is not None and known.stamp == stamp:
            known.used = time.monotonic()
            return known.name
        if known is not None:
            self._drop(str(path))
        self.say({"progress": f"loading {asked['label']}"})
        busy = {row.adapter for row in self.rows}
        while len(self.adapters) >= _ADAPTERS:
            idle = [(one.used, key) for key, one in self.adapters.items() if one.name not in busy]
            if not idle:
                break
            self._drop(min(idle)[1])
        self._numbers += 1
        name = f"adapter_{self._numbers}"
        try:
            self.shared.load_adapter(name, path, changes_base=asked["changes_base"])
        except Exception as error:
            if isinstance(explained := _explained(error, f"loading {asked['label']}"), OutOfMemory):
                raise explained from error
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            traceback.print_exc()
            raise WorkerFailed(
                f"The adapter {asked['label']} cannot be put on {self.base['label']}: {said[:300]}",
                remedy="Check that it was trained on this base.",
            ) from error
        if asked["apart"]:
            self.shared.apart.add(name)
        if asked["saved_whole"]:
            self.shared.saved_whole[name] = frozenset(asked["saved_whole"])
        self.adapters[str(path)] = _Loaded(name, stamp, time.monotonic())
        return name

    def _drop(self, path: str) -> None:
        known = self.adapters.pop(path)
        self.memories = [one for one in self.memories if one.adapter != known.name]
        self.shared.drop_adapter(known.name)

    def _prompter(self, folder: str | None, template: str | None, label: str) -> Prompter:
        from engine.chat.prompting import Prompter
        from engine.training.loading import ModelUnusable, load_tokenizer

        key = (folder or "", template)
        if key not in self.prompters:
            base = self.base
            trust = base["trust_remote_code"]
            own = {"revision": base["revision"], "name": base["label"], "trust_remote_code": trust}
            if folder is None:
                tokenizer = load_tokenizer(base["source"], chat_template=template, **own)
            else:
                try:
                    tokenizer = load_tokenizer(folder, name=label, chat_template=template, trust_remote_code=trust)
                except ModelUnusable:  # saved without a template: it was the base's
                    tokenizer = load_tokenizer(base["source"], chat_template=template, **own)
            self.prompters[key] = Prompter(tokenizer, label, None)
        prompter = self.prompters[key]
        if hasattr(self, "shared"):
            prompter.context = _context(self.shared.config)
        return prompter

    @property
    def _smaller(self) -> str:
        least = self.base["bits"] == 4 or self.base["device"].startswith("mps")
        return "choose a smaller model" if least else "load the model in 4 bits"

    def _fail(self, rows: list[AnswerRow], failure: EngineError) -> None:
        if isinstance(failure, OutOfMemory):
            number = sum(len(row.ids) for row in rows)
            failure = OutOfMemory(
                f"Memory ran out while answering, at {number:,} tokens of conversation on {self.shared.device}.",
                remedy=f"Shorten the conversation, ask the sides one after the other, or {self._smaller}.",
            )
        for row in rows:
            row.memory = None
            row.fail(failure)
        self.memories = []
        _empty_cache()
        if isinstance(failure, DeviceFault):
            raise SystemExit(1)  # nothing more can be computed in a process whose device has faulted


def main() -> int:
    """Load the base that stdin names first, then answer until stdin is closed."""
    # What the libraries print must not come between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(OSError):  # where memory runs out, an idle chat goes before a run of nine hours
        Path("/proc/self/oom_score_adj").write_text("500")
    inbox = Inbox()
    threading.Thread(target=inbox.listen, daemon=True, name="listening").start()

    def say(told: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(told), file=replies, flush=True)
        except BrokenPipeError:
            os._exit(0)

    worker = Worker(inbox.waiting.get(), say, inbox)
    try:
        worker.load()
    except EngineError as error:
        say({"failed": _told(error)})
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        traceback.print_exc()
        say({"failed": _told(_explained(error, f"loading {worker.base['label']}"))})
        return 1
    worker.work()
    return 0


def _explained(error: Exception, stage: str) -> EngineError:
    from engine.training.failures import explained

    found = explained(error, stage)
    if isinstance(found, OutOfMemory):
        return OutOfMemory(found.message, remedy="Load the model in 4 bits, or choose a smaller one.")
    if isinstance(found, DeviceFault):
        return DeviceFault(found.message, remedy="Ask again: the model is loaded anew. `ftconsole doctor` looks at it.")
    if isinstance(error, EngineError):
        return error
    return WorkerFailed(found.message, remedy="Ask again; if it happens again, report it with these words.")


def _told(error: EngineError) -> dict[str, Any]:
    return {**error.as_dict(), "exit_code": error.exit_code}


def _ends_of(model: Any) -> frozenset[int]:
    found: set[int] = set()
    for settings in (model.generation_config, model.config, model.config.get_text_config()):
        ids = getattr(settings, "eos_token_id", None)
        found |= {one for one in (ids if isinstance(ids, list) else [ids]) if isinstance(one, int)}
    return frozenset(found)


def _context(config: Any) -> int | None:
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def _shared_length(one: list[int], other: list[int]) -> int:
    for number, (ours, theirs) in enumerate(zip(one, other, strict=False)):
        if ours != theirs:
            return number
    return min(len(one), len(other))


def _turn_tokens() -> int:
    from engine.chat.batch import TURN_TOKENS

    return TURN_TOKENS


def _empty_cache() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
