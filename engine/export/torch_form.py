"""A model as transformers runs it: prompts as token ids, greedy answers, logits. Loads torch.

Shapes: T positions of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.templates import ChatTemplate, end_ids
from engine.export.carried import turn_end


class TorchForm:
    """Asks a model greedily, in float32 on the CPU unless it was loaded otherwise.

    Args:
        model: With or without an adapter.
        template: Whose template and tokenizer it is asked with.
        folder: Whose generation config says where it stops.
    """

    def __init__(self, model: Any, template: ChatTemplate, folder: Path) -> None:
        self.model, self.template = model, template
        self.stops = end_ids(folder)
        end = turn_end(template)
        if not self.stops and end is not None:
            self.stops = {end}

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the prompt as the model is given it: a question by the user, and the beginning of an answer."""
        text = self.template.render([{"role": "user", "content": prompt}], add_generation_prompt=True)
        return self.template.encode(text)

    def answer(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """Return the greedy answer, the token it stops at included."""
        from transformers import GenerationConfig

        greedy = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(self.stops) or None,
            pad_token_id=min(self.stops, default=0),
        )
        ids = torch.tensor([list(prompt_ids)], device=self.model.device)
        # A generation config of the model's own may hold penalties, which would fill what is None here.
        self.model.generation_config = GenerationConfig()
        with torch.inference_mode():
            out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        return [int(number) for number in out[0, len(prompt_ids) :]]

    def logits(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return what the model makes of each position of an answer given: (T, V) in float32."""
        ids = torch.tensor([[*prompt_ids, *answer_ids[:-1]]], device=self.model.device)
        with torch.inference_mode():
            out = self.model(input_ids=ids, logits_to_keep=max(1, len(answer_ids)), use_cache=False).logits
        found: NDArray[np.float32] = out[0].float().cpu().numpy()
        return found

    def text(self, ids: Sequence[int]) -> str:
        """Return token ids as text, without special tokens."""
        said: str = self.template.tokenizer.decode(list(ids), skip_special_tokens=True)
        return said
