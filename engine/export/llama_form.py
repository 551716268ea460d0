"""A GGUF file as llama.cpp runs it, through cyllama: prompts as token ids, greedy answers, logits.

Shapes: T positions of an answer, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.templates import ChatTemplate
from engine.errors import MissingPackage
from engine.export.failures import NotExportable

_CONTEXT = 4096
_CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
"""What llama.cpp's server takes where a file has no template."""


class LlamaForm:
    """Asks a GGUF file greedily, on the CPU.

    Args:
        path: The file.

    Raises:
        MissingPackage: cyllama is not installed.
        NotExportable: llama.cpp cannot load it.
    """

    def __init__(self, path: Path) -> None:
        try:
            from cyllama.llama import llama_cpp
        except ImportError as error:
            raise MissingPackage(
                f"cyllama is needed to ask a GGUF file: {error}.", remedy="pip install 'ftconsole[gguf]'"
            ) from error

        class Model(llama_cpp.LlamaModel):  # type: ignore[misc]
            @property
            def n_vocab(self) -> int:
                """Number of tokens: cyllama 0.2.18 looks for it here when it reads logits, and has it elsewhere."""
                count: int = self.get_vocab().n_vocab
                return count

        llama_cpp.disable_logging()
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.LlamaModelParams()
        model_params.n_gpu_layers = 0
        try:
            self.model = Model(str(path), model_params, verbose=False)
        except (RuntimeError, ValueError, OSError) as error:
            raise NotExportable(
                f"llama.cpp cannot load {path.name}: {error}", remedy="Export it once more; the file may be cut off."
            ) from error
        self.context_tokens = min(_CONTEXT, self.model.n_ctx_train)
        context_params = llama_cpp.LlamaContextParams()
        context_params.n_ctx = context_params.n_batch = self.context_tokens
        context_params.n_threads = context_params.n_threads_batch = len(os.sched_getaffinity(0))
        self.context = llama_cpp.LlamaContext(self.model, context_params, verbose=False)
        self.batch = llama_cpp.LlamaBatch(n_tokens=self.context_tokens, embd=0, n_seq_max=1)
        self.vocabulary = self.model.get_vocab()
        self.stops = {number for number in range(self.vocabulary.n_vocab) if self.vocabulary.is_eog(number)}
        special = {
            "bos_token": self._piece(self.vocabulary.token_bos()),
            "eos_token": self._piece(self.vocabulary.token_eos()),
        }
        try:
            source = str(self.model.meta_val_str("tokenizer.chat_template"))
        except ValueError:  # it has none
            source = ""
        self.template = ChatTemplate(source, special, frozenset(), path)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the prompt as llama.cpp's server makes it of the template in the file.

        Where the vocabulary says that a text begins with a token of its own, the server adds that one and takes it
        away from the template's text (`common_chat_templates_apply` in common/chat.cpp).
        """
        text = _CHATML.format(prompt)
        if self.template.source:
            text = self.template.render([{"role": "user", "content": prompt}], add_generation_prompt=True)
        first = self.template.special["bos_token"]
        if self.vocabulary.get_add_bos() and first:
            text = text.removeprefix(first)
        ids: list[int] = self.vocabulary.tokenize(text, True, True)
        return ids

    def answer(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return the greedy answer, the token it stops at included."""
        said: list[int] = []
        logits = self._decoded(prompt_ids, len(prompt_ids) - 1)[0]
        while len(said) < max_new_tokens:
            said.append(int(logits.argmax()))
            if said[-1] in self.stops:
                break
            self.batch.reset()
            self.batch.add(said[-1], len(prompt_ids) + len(said) - 1, [0], True)
            self.context.decode(self.batch)
            logits = np.asarray(self.context.get_logits_ith(0), dtype=np.float32)
        return said

    def logits(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return what the model makes of each position of an answer given: (T, V) in float32."""
        return self._decoded([*prompt_ids, *answer_ids[:-1]], len(prompt_ids) - 1)

    def text(self, ids: Sequence[int]) -> str:
        """Return token ids as text, without special tokens."""
        return "".join(self._piece(number) for number in ids if not self.vocabulary.is_control(number))

    def _piece(self, number: int) -> str:
        if number < 0:
            return ""
        piece = self.vocabulary.token_to_piece(number, 0, True)
        return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace")

    def _decoded(self, ids: Sequence[int], first: int) -> NDArray[np.float32]:
        self.context.kv_cache_clear()
        self.batch.reset()
        for position, number in enumerate(ids):
            self.batch.add(number, position, [0], position >= first)
        self.context.decode(self.batch)
        rows = [self.context.get_logits_ith(position) for position in range(first, len(ids))]
        return np.asarray(rows, dtype=np.float32)
