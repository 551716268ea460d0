"""Training of the built-in model, from random weights, on one core."""

import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from tools.tiny_model.corpus import Exchange, Message, Variation, conversation, copies, exchanges
from tools.tiny_model.tokenizer import MAX_LENGTH, VOCAB_SIZE

SAVED_DTYPE = torch.bfloat16
IGNORE_INDEX = -100


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what the weights become."""

    num_train_epochs: int = 18
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_fraction: float = 0.05
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    prompt_loss_weight: float = 0.1
    """Weight of a prompt token's loss beside a reply token's. A little of it makes the model read."""
    label_smoothing: float = 0.0
    average_decay: float = 0.98
    """Decay per step of the running average of the weights, which is what is kept."""
    seed: int = 1969
    copies: int = 256
    """Requests to repeat words in each epoch, beside some 1,500 exchanges."""
    variation: Variation = field(default_factory=Variation)


def new_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen2ForCausalLM:
    """Random weights of the shape the model has: every dimension is a multiple of 256."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_sliding_window=False,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=64,
        eos_token_id=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def train(tokenizer: PreTrainedTokenizerBase, recipe: Recipe, log_every: int = 50) -> Qwen2ForCausalLM:
    """Train and return the averaged weights, rounded to `SAVED_DTYPE`'s values but in float32."""
    torch.use_deterministic_algorithms(True)
    model = new_model(tokenizer, recipe.seed)
    averaged = {name: p.detach().clone() for name, p in model.named_parameters()}
    draw = random.Random(recipe.seed)
    corpus = exchanges()
    steps_per_epoch = math.ceil((len(corpus) + recipe.copies) / recipe.batch_size)
    num_steps = steps_per_epoch * recipe.num_train_epochs

    # As is usual, vectors (norms and biases) do not decay.
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, num_steps, recipe.warmup_fraction)
    )
    started = time.monotonic()
    step = 0
    for _ in range(recipe.num_train_epochs):
        for batch in _batches(tokenizer, corpus, recipe, draw):
            input_ids, weights = _collate(batch, tokenizer.pad_token_id, recipe)
            loss = _weighted_loss(model, input_ids, weights, recipe)
            loss.backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            # Short at first, so that the random start is forgotten.
            decay = min(recipe.average_decay, step / (step + 10))
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    averaged[name].lerp_(parameter, 1 - decay)
            if step % log_every == 0 or step == num_steps:
                print(
                    f"step {step:5d}/{num_steps}  loss {loss.item():.4f}  "
                    f"grad_norm {grad_norm.item():.2f}  {time.monotonic() - started:.0f} s",
                    flush=True,
                )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(averaged[name].to(SAVED_DTYPE))
    return model.eval()


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that plain `from_pretrained` reads, weights in `SAVED_DTYPE`."""
    model.to(SAVED_DTYPE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # safetensors writes for the owner alone; what is shipped is for everybody.
    for path in folder.iterdir():
        path.chmod(0o644)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """One conversation in tokens: everything up to the reply, and the reply with its end."""

    prompt: list[int]
    reply: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.reply)


def _encode(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> _Tokens:
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    reply = messages[-1]["content"]
    return _Tokens(tokenizer(prompt)["input_ids"], [*tokenizer(reply)["input_ids"], tokenizer.eos_token_id])


def _batches(
    tokenizer: PreTrainedTokenizerBase, corpus: list[Exchange], recipe: Recipe, draw: random.Random
) -> list[list[_Tokens]]:
    """One epoch: every exchange once, dressed up anew, in batches of like length."""
    epoch = corpus + copies(recipe.copies, draw)
    dressed = [_encode(tokenizer, conversation(one, corpus, recipe.variation, draw)) for one in epoch]
    # Neighbours in length make a batch: of 100 tokens 96 count, 47 when batches are drawn at random. The
    # dressing differs from epoch to epoch, and so does who is whose neighbour.
    draw.shuffle(dressed)
    dressed.sort(key=len)
    batches = [dressed[n : n + recipe.batch_size] for n in range(0, len(dressed), recipe.batch_size)]
    draw.shuffle(batches)
    return batches


def _collate(batch: list[_Tokens], pad_token_id: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return token ids and the weight of each token's loss, both (batch, time), padded on the right."""
    longest = max(len(tokens) for tokens in batch)
    input_ids = torch.full((len(batch), longest), pad_token_id)
    weights = torch.zeros(len(batch), longest)
    for n, tokens in enumerate(batch):
        input_ids[n, : len(tokens)] = torch.tensor(tokens.prompt + tokens.reply)
        weights[n, : len(tokens.prompt)] = recipe.prompt_loss_weight
        weights[n, len(tokens.prompt) : len(tokens)] = 1.0
    return input_ids, weights


def _weighted_loss(model: Qwen2ForCausalLM, input_ids: Tensor, weights: Tensor, recipe: Recipe) -> Tensor:
    """Mean next-token loss over the reply tokens, plus the prompt's share."""
    # Padding is on the right and attention is causal: no mask is needed.
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1]
    targets, weights = input_ids[:, 1:], weights[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        reduction="none",
        label_smoothing=recipe.label_smoothing,
    )
    return (losses * weights.flatten()).sum() / weights.eq(1.0).sum()


def _learning_rate_factor(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    warmup_steps = max(1, round(warmup_fraction * num_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
