"""How rows become what the model is trained on: TRL's own preparation and collator, and a cache of the result.

For worker processes: imports torch and TRL. Training and the mask microscope both go through `PreparingSFTTrainer`, so
that what is looked at is what is learned.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from datasets import Dataset, IterableDataset, load_from_disk
from datasets.iterable_dataset import ExamplesIterable
from transformers import LlamaConfig, LlamaForCausalLM, Trainer
from trl import SFTConfig, SFTTrainer

from engine.data.rows import Row
from engine.errors import DataError

CACHE_BYTES = 8 << 30
"""The cache is kept below this: some 500 million tokens. The entries not used for longest go first."""
_PREPARING_OPTIONS = (
    "max_length", "packing", "eval_packing", "packing_strategy", "padding_free", "truncation_mode", "eos_token",
    "pad_token", "completion_only_loss", "assistant_only_loss", "shuffle_dataset", "chat_template_path",
    "dataset_text_field", "dataset_kwargs",
)  # fmt: skip
"""What of a trainer's configuration decides how rows are prepared."""
_PREPARING_LIBRARIES = ("trl", "transformers", "tokenizers", "datasets")


def dataset_of(rows: Sequence[Row]) -> Dataset:
    """Return rows in the form TRL takes.

    Raises:
        DataError: They are of several kinds.
    """
    return Dataset.from_dict(_columns(rows))


def stream_of(rows: Sequence[Row]) -> IterableDataset:
    """Return what `dataset_of` returns as a stream, in a tenth of the time for a few rows.

    Nothing of a stream is hashed for the library's own cache, for which it writes the vocabulary of a tokenizer down.

    Raises:
        DataError: They are of several kinds.
    """
    return stream(_columns(rows))


def stream(columns: Mapping[str, Sequence[Any]]) -> IterableDataset:
    """Return columns as a stream of rows."""

    def examples() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, values in enumerate(zip(*columns.values(), strict=True)):
            yield number, dict(zip(columns, values, strict=True))

    return IterableDataset(ExamplesIterable(examples, {}))


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the columns TRL takes; `row` is the position in `rows`.

    Of a preference the chosen answer is learned. Rows of one data set are of one kind.

    Raises:
        DataError: They are of several, which TRL would take for the first one's.
    """
    kinds = {"prompt-completion" if row.kind in ("preference", "kto") else row.kind for row in rows}
    kinds = {"prompt-completion" if kind == "sft" else kind for kind in kinds}
    if len(kinds) > 1:
        raise DataError(
            f"{rows[0].path.name} and what is learned with it has rows of several kinds: {', '.join(sorted(kinds))}.",
            remedy="Put each kind into a file and a run of its own.",
        )
    positions = list(range(len(rows)))
    if kinds == {"tokenised"}:
        ids = [row.input_ids or [] for row in rows]
        labels = [row.labels if row.labels is not None else row.input_ids or [] for row in rows]
        return {"input_ids": ids, "labels": labels, "row": positions}
    if kinds == {"text"}:
        return {"text": [row.completion[-1]["content"] for row in rows], "row": positions}
    prompts, completions = [row.prompt for row in rows], [row.completion for row in rows]
    return {"prompt": prompts, "completion": completions, "row": positions}


class Preparing(Trainer):
    """Mixed in before a trainer of TRL: its preparation may be remembered from one start to the next."""

    def __init__(self, *, prepared: PreparedCache | None = None, **arguments: Any) -> None:
        self.prepared = prepared
        super().__init__(**arguments)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *more: Any) -> Any:
        """Let TRL prepare, or take what it prepared before from the same rows in the same way.

        Overridden because TRL calls it from `__init__` and has no place to give prepared data that still tells the
        rows which it dropped.

        Args:
            dataset: Rows.
            processing_class: The tokenizer.
            args: The trainer's configuration.
            more: Of SFT whether to pack and a function that formats; of all the name of the data set, last.
        """

        def prepare() -> Any:
            return super(Preparing, self)._prepare_dataset(dataset, processing_class, args, *more)

        if self.prepared is None or not isinstance(dataset, Dataset):
            return prepare()
        packing = bool(more[0]) if len(more) > 1 else False
        key, cache = prepared_key(dataset, self._tokenizer, args, packing), self.prepared
        found = cache.get(key)
        if cache.together is None:
            return found if found is not None else cache.put(key, prepare())
        if not cache.together.all(found is not None):
            made = prepare()  # TRL lets the first go before and the others wait; it would wait for them
            if cache.together.first:
                cache.put(key, made)
            cache.together.all(True)
            found = cache.get(key)  # all take what is on the disk: TRL's own files go beside it, where each finds them
            if not cache.together.all(found is not None):
                found = made  # it cannot be kept
        return found


class PreparingSFTTrainer(Preparing, SFTTrainer):
    """TRL's trainer for answers."""


class Together(Protocol):
    """What is asked of several processes; `engine.training.ranks` has them."""

    def all(self, true: bool) -> bool:
        """Return whether it is true in every process."""

    @property
    def first(self) -> bool:
        """Whether this is the first."""


@dataclass(slots=True)
class PreparedCache:
    """Prepared data sets in a folder, by the hash of everything they depend on."""

    folder: Path
    limit_bytes: int = CACHE_BYTES
    together: Together | None = None
    """The processes of a run of several: one prepares, and all have or have not."""
    hits: int = 0
    """Data sets that did not have to be prepared."""
    misses: int = 0
    _keys: weakref.WeakKeyDictionary[Any, str] = field(default_factory=weakref.WeakKeyDictionary)

    def key_of(self, dataset: Any) -> str | None:
        """Return the key of a data set that came from here."""
        return self._keys.get(dataset)

    def same(self, dataset: Dataset, as_dataset: Any) -> Dataset:
        """Note that a data set is another one from here with further columns, and return it."""
        if (key := self.key_of(as_dataset)) is not None:
            self._keys[dataset] = key
        return dataset

    def get(self, key: str) -> Dataset | None:
        """Return a data set prepared before; None when there is none, or it is damaged."""
        entry = self.folder / key
        try:
            dataset = load_from_disk(str(entry / "data"))
            os.utime(entry)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        self.hits += 1
        self._keys[dataset] = key
        return dataset

    def put(self, key: str, dataset: Dataset) -> Dataset:
        """Keep a data set, and return it. Where it cannot be kept, for want of room, it is only returned."""
        self.misses += 1
        self._keys[dataset] = key
        if dataset.data.nbytes > self.limit_bytes // 2:
            return dataset
        made = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = tempfile.mkdtemp(prefix=".making-", dir=self.folder)
            dataset.save_to_disk(f"{made}/data")
            os.rename(made, self.folder / key)
        except OSError:  # no room, no rights, or another run was quicker: then the next start prepares again
            if made:
                shutil.rmtree(made, ignore_errors=True)
            return dataset
        self._make_room(key)
        return dataset

    def facts(self, dataset: Any) -> dict[str, Any] | None:
        """Return what `keep_facts` kept with this data set."""
        key = self._keys.get(dataset)
        if key is None:
            return None
        try:
            read = json.loads((self.folder / key / "facts.json").read_bytes())
        except (OSError, ValueError):
            return None
        return read if isinstance(read, dict) else None

    def keep_facts(self, dataset: Any, facts: dict[str, Any]) -> None:
        """Keep what counting the data set took time for."""
        key = self._keys.get(dataset)
        if key is None or not (self.folder / key).is_dir():
            return
        with contextlib.suppress(OSError):
            made = self.folder / key / f".facts-{os.getpid()}"
            made.write_text(json.dumps(facts), encoding="utf-8")
            os.replace(made, self.folder / key / "facts.json")

    def _make_room(self, newest: str) -> None:
        entries = []
        for entry in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another run makes room at the same time
                size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
                entries.append((entry.stat().st_mtime, entry, size))
        total = sum(size for _, _, size in entries)
        for _, entry, size in sorted(entries):
            if total <= self.limit_bytes:
                break
            if entry.name != newest:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size


def users_cache(together: Together | None = None) -> PreparedCache:
    """Return the cache of this user."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return PreparedCache(home / "ftconsole" / "prepared", together=together)


def prepared_key(dataset: Dataset, tokenizer: Any, args: Any, packing: bool) -> str:
    """Return the hash of everything the prepared data depends on: rows, tokenizer, template, options, libraries."""
    digest = hashlib.blake2b(digest_size=20)
    about = {
        "versions": {name: metadata.version(name) for name in _PREPARING_LIBRARIES},
        "options": {name: getattr(args, name, None) for name in _PREPARING_OPTIONS},
        "packing": packing,
        "seed": args.seed if getattr(args, "shuffle_dataset", False) else None,
        # KTO's rows are prepared together with their neighbours of the same forward pass.
        "neighbours": args.per_device_train_batch_size if type(args).__name__ == "KTOConfig" else None,
        "special": tokenizer.special_tokens_map,
        "template": tokenizer.chat_template,
        "columns": dataset.column_names,
    }
    template_file = getattr(args, "chat_template_path", None)
    if template_file is not None and os.path.isfile(template_file):
        about["template file"] = Path(template_file).read_text(encoding="utf-8")
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    digest.update(backend.to_str().encode() if backend is not None else repr(tokenizer).encode())
    sink = pa.PythonFile(_Digesting(digest), mode="w")
    table = dataset.with_format("arrow")
    with pa.ipc.new_stream(sink, dataset.features.arrow_schema) as stream:
        for batch in table.iter(10_000):
            stream.write_table(batch.cast(dataset.features.arrow_schema))
    return digest.hexdigest()


class _Digesting:
    """A file that only hashes what is written."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


WITHOUT_MODEL: Mapping[str, Any] = {
    "use_cpu": True, "bf16": False, "fp16": False, "activation_checkpointing": False, "report_to": "none",
}  # fmt: skip
"""Arguments of a trainer that only prepares rows: none of them decides how, and a run's would want its device."""
PREPARED_ONCE: Mapping[str, Any] = {**WITHOUT_MODEL, "eval_strategy": "no", "max_steps": 1}
"""Those of one that is made for a single row, and never trains."""


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """Tell as `DataError` what TRL raises when options and row do not go together."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"The row cannot be prepared: {error}", remedy="Look at the row and the template.") from error


class Preparation:
    """The preparation and the collator a run would use, without its model.

    A trainer is made around a model of a few hundred weights that is never called: everything TRL decides in its
    `__init__` from options, tokenizer and the first row is decided there, and by nobody else.
    """

    def __init__(self, tokenizer: Any, arguments: dict[str, Any], first: Row) -> None:
        """Take the arguments of `trl.SFTConfig`; those about device and output are set here.

        Raises:
            DataError: TRL refuses options and row together.
        """
        here = {
            **{name: value for name, value in arguments.items() if name != "model_init_kwargs"},
            **PREPARED_ONCE,
            "output_dir": tempfile.gettempdir(),
            "dataset_num_proc": None,
        }
        with refusals_told():
            self._trainer = PreparingSFTTrainer(
                model=placeholder(),
                args=SFTConfig(**here),
                train_dataset=stream_of([first]),
                processing_class=tokenizer,
            )

    @property
    def max_length(self) -> int | None:
        limit: int | None = self._trainer.args.max_length
        return limit

    @property
    def keeps_end(self) -> bool:
        """Whether the beginning is cut off, not the end."""
        return bool(self._trainer.args.truncation_mode == "keep_end")

    def prepare(self, rows: Sequence[Row], *, whole: bool = False) -> list[dict[str, Any]]:
        """Return the prepared examples with `input_ids` and `labels`; rows that TRL drops are missing.

        Args:
            rows: Of one kind.
            whole: Neither cut to the maximum length nor packed.
        """
        arguments = self._trainer.args
        limit, packing = arguments.max_length, bool(arguments.packing) and not whole
        if whole or packing:
            arguments.max_length = None
        try:
            examples = list(self._prepared(stream_of(rows), packing=False))
        finally:
            arguments.max_length = limit
        if not packing:
            return examples
        # Packing needs a table, and is what TRL does last.
        columns = {name: [example[name] for example in examples] for name in ("input_ids", "labels")}
        return list(self._prepared(Dataset.from_dict(columns), packing=True))

    def _prepared(self, dataset: Any, *, packing: bool) -> Any:
        trainer = self._trainer
        return trainer._prepare_dataset(dataset, trainer.processing_class, trainer.args, packing, None, "train")

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch the model would be given."""
        batch: dict[str, Any] = self._trainer.data_collator(examples)
        return batch


def placeholder() -> LlamaForCausalLM:
    """Return a model of a few hundred weights, for trainers that are to prepare rows only."""
    shape = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(shape)
