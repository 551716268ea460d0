"""The process in which llama.cpp's converter runs: its own script, with four things around it.

- A tokenizer that its hash does not know is recognised by its structure, or refused (`pre_tokenizers`).
- No code of a model's repository is run, which the converter allows itself with `trust_remote_code=True`.
- End of sequence, chat template and beginning of sequence are written as the tokenizer itself has them.
- What ends it becomes a sentence with a remedy.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.export.convert_failures import explained
from engine.export.failures import NotExportable
from engine.export.growing import growing
from engine.export.pre_tokenizers import in_words, known_pre_tokenizer
from engine.export.progress import Progress, Tell, answer

# What llama.cpp takes for an end by its text alone (llama-vocab.cpp, "maintain a list of tokens that cause
# end-of-generation").
_KNOWN_ENDS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "</s>",
    "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>",
})  # fmt: skip
_KEY = "tokenizer.ggml."


def main(asked: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Convert as `asked` says, and return what the file must say."""
    last_error = _listen()
    tell(Progress("loading llama.cpp's converter"))
    try:
        facts = _Facts(Path(asked["model"]))
        _surround(Path(asked["converter"]), facts, adapter=asked["adapter"])
        with growing(asked, tell):
            _run(asked)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary: whatever the script ends with is explained
        traceback.print_exc()  # into the log
        raise explained(error, last_error(), asked) from None
    return facts.as_dict()


def _run(asked: dict[str, Any]) -> None:
    """Run the script with the command line a person would give it."""
    converter = Path(asked["converter"])
    common = ["--outfile", asked["out"], "--outtype", asked["outtype"]]
    if asked["adapter"] is None:
        script = converter / "convert_hf_to_gguf.py"
        arguments = [asked["model"], *common, "--model-name", asked["name"]]
    else:
        script = converter / "convert_lora_to_gguf.py"
        arguments = [asked["adapter"], "--base", asked["model"], *common]
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


class _Facts:
    """What the model's own tokenizer and generation settings say, which the file must say too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer: Any = None
        self.by_structure = ""
        self.unstoppable: list[str] = []
        self.written: dict[str, Any] = {}

    def as_dict(self) -> dict[str, Any]:
        """Return what the reader of the file compares with it."""
        return {"by_structure": self.by_structure, "unstoppable": self.unstoppable, **self.written}

    def load(self) -> Any:
        """Return the tokenizer, the one the converter has loaded if it did."""
        if self.tokenizer is None:
            from transformers import AutoTokenizer

            self.tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        return self.tokenizer

    def stops(self) -> list[int]:
        """Return the ids that end an answer, the tokenizer's own first."""
        found = [self.load().eos_token_id]
        for name in ("generation_config.json", "config.json"):
            try:
                said = json.loads((self.folder / name).read_bytes()).get("eos_token_id")
            except (OSError, ValueError, AttributeError):
                continue
            found += said if isinstance(said, list) else [said]
        return list(dict.fromkeys(one for one in found if type(one) is int and one >= 0))

    def adds(self, which: str) -> bool:
        """Return whether the tokenizer puts its "bos" before or its "eos" behind a text."""
        token = getattr(self.load(), f"{which}_token_id")
        ids = list(self.load()("a").input_ids)
        return token is not None and bool(ids) and ids[0 if which == "bos" else -1] == token

    def _name(self, name: str) -> str:
        """Return the name so that llama.cpp does with the special tokens what the tokenizer does.

        A name with phi3 in it makes llama.cpp look for four tokens, and end where they are not there; and makes it drop
        the spaces behind special tokens, as Phi-3's own tokenizer does (llama-vocab.cpp).
        """
        tokenizer = self.load()
        has_them = {"</s>", "<unk>", "<s>", "<|endoftext|>"} <= tokenizer.get_vocab().keys()
        drops = any(token.rstrip for token in tokenizer.added_tokens_decoder.values())
        called = re.search("phi-?3", name, re.IGNORECASE) is not None
        if called and not (has_them and drops):
            return re.sub("(phi)-?(3)", r"\1 \2", name, flags=re.IGNORECASE)
        return f"Phi-3 {name}" if has_them and drops and not called else name

    def write(self, writer: Any) -> None:
        """Make the metadata say the same as the tokenizer. Called when the converter has added all of its own."""
        metadata = writer.kv_data[0]
        if (name := _value(metadata, "general.name")) is not None:
            writer.add_name(self._name(str(name)))
        for which in ("bos", "eos"):
            # Always written: what is left out is guessed from the pre-tokenizer's name, and "llama-bpe" adds one.
            adds = self.adds(which)
            if _value(metadata, f"{_KEY}add_{which}_token") != adds:
                getattr(writer, f"add_add_{which}_token")(adds)
            self.written[f"add_{which}"] = adds
        stops = self.stops()
        own = _value(metadata, f"{_KEY}eos_token_id")
        if stops and own not in stops:
            writer.add_eos_token_id(stops[0])
            own = stops[0]
        covered = {own, *(_value(metadata, f"{_KEY}{kind}_token_id") for kind in ("eot", "eom"))}
        tokens = self.load().convert_ids_to_tokens(stops)
        for stop, text in zip(stops, tokens, strict=True):
            if stop in covered or text in _KNOWN_ENDS:
                continue
            for kind in ("eot", "eom"):
                if _value(metadata, f"{_KEY}{kind}_token_id") is None:
                    getattr(writer, f"add_{kind}_token_id")(stop)
                    break
            else:
                self.unstoppable.append(str(text))
        # tokenizer_config.json wins in the converter, chat_template.jinja in transformers.
        template = self.load().chat_template
        if isinstance(template, str) and _value(metadata, "tokenizer.chat_template") != template:
            writer.add_chat_template(template)
        self.written |= {"eos": own, "stops": stops, "template": template if isinstance(template, str) else None}


def _value(metadata: dict[str, Any], key: str) -> Any:
    found = metadata.get(key)
    return None if found is None else found.value


def _surround(converter: Path, facts: _Facts, *, adapter: str | None) -> None:
    """Load the converter's modules, from its own folders alone, and put ours around them."""
    sys.path[:0] = [str(converter), str(converter / "gguf-py")]
    _never_run_code(facts)
    base = _base_module(converter)
    text_model = getattr(base, "TextModel", None) or base.Model
    recognise, prepare = text_model.get_vocab_base_pre, text_model.prepare_metadata

    def get_vocab_base_pre(self: Any, tokenizer: Any) -> Any:
        try:
            return recognise(self, tokenizer)
        except NotImplementedError:
            rules = json.loads(tokenizer.backend_tokenizer.to_str())
            name = known_pre_tokenizer(rules)
            if name is None:
                raise NotExportable(
                    f"llama.cpp has no pre-tokenizer like this model's: {in_words(rules)}.",
                    remedy="Use it with transformers, or train on a base whose tokenizer llama.cpp knows: Qwen, Llama, "
                    "Mistral, Gemma, Phi.",
                ) from None
            facts.by_structure = name
            return name

    def prepare_metadata(self: Any, *arguments: Any, **options: Any) -> Any:
        result = prepare(self, *arguments, **options)
        if adapter is None:
            facts.write(self.gguf_writer)
        else:
            _write_scale(adapter, self.gguf_writer)
        return result

    text_model.get_vocab_base_pre, text_model.prepare_metadata = get_vocab_base_pre, prepare_metadata


def _write_scale(adapter: str, writer: Any) -> None:
    """Write the alpha of a rank-stabilised adapter so that llama.cpp's alpha / r is PEFT's alpha / sqrt(r)."""
    config = json.loads((Path(adapter) / "adapter_config.json").read_bytes())
    if config.get("use_rslora"):
        writer.add_float32("adapter.lora.alpha", config["lora_alpha"] * config["r"] ** 0.5)


def _base_module(converter: Path) -> ModuleType:
    """Return the module with the converter's base classes; it was the script itself until spring 2026."""
    if (converter / "conversion" / "base.py").is_file():
        return importlib.import_module("conversion.base")
    return importlib.import_module("convert_hf_to_gguf")


def _never_run_code(facts: _Facts) -> None:
    from transformers import AutoConfig, AutoTokenizer

    load_tokenizer, load_config = AutoTokenizer.from_pretrained, AutoConfig.from_pretrained

    def tokenizer_from_pretrained(*arguments: Any, **options: Any) -> Any:
        facts.tokenizer = load_tokenizer(*arguments, **{**options, "trust_remote_code": False})
        return facts.tokenizer

    def config_from_pretrained(*arguments: Any, **options: Any) -> Any:
        return load_config(*arguments, **{**options, "trust_remote_code": False})

    AutoTokenizer.from_pretrained, AutoConfig.from_pretrained = tokenizer_from_pretrained, config_from_pretrained


def _listen() -> Callable[[], str]:
    """Remember the last error the script logs: it ends with exit status 1 and says why only there."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Handler(logging.ERROR)
    for name in ("hf-to-gguf", "lora-to-gguf"):  # not the root: basicConfig does nothing where that has a handler
        logging.getLogger(name).addHandler(handler)
    return lambda: said[-1] if said else ""


if __name__ == "__main__":
    sys.exit(answer(main, "The conversion"))
