"""The built-in model's tokenizer: Qwen2's in structure, with a small vocabulary of its own.

Byte-level, so any text can be encoded: what the vocabulary lacks falls apart into bytes.
"""

import json
from collections.abc import Iterator

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer

from tools.tiny_model import sources

VOCAB_SIZE = 3072
"""A multiple of 256, like every dimension of the model: the K-quants of llama.cpp want that."""

MAX_LENGTH = 2048
"""Positions the model is built for. It is trained on conversations of up to some 130 tokens."""

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = [END_OF_TEXT, START_OF_TURN, END_OF_TURN]

# ChatML with an optional system message. It adds nothing of its own, so that a prompt rendered with
# `add_generation_prompt` is a prefix of the same prompt rendered with its completion.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def train_tokenizer() -> Qwen2Tokenizer:
    """Learn the vocabulary from every sentence of the sources but the held-out phrasings.

    The instructions and the chosen halves are in it although the model never sees them: their words
    and URLs then cost a fine-tuning run few tokens.
    """
    # An empty Qwen2Tokenizer brings Qwen2's normaliser, pre-tokenizer and decoder.
    empty: Tokenizer = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    learned = Tokenizer(BPE())
    learned.normalizer = empty.normalizer
    learned.pre_tokenizer = empty.pre_tokenizer
    learned.train_from_iterator(
        _sentences(),
        BpeTrainer(
            vocab_size=VOCAB_SIZE - len(SPECIAL_TOKENS),
            initial_alphabet=sorted(ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    vocab = learned.get_vocab()
    # Special tokens come last, as in Qwen2.
    vocab |= {token: len(vocab) + n for n, token in enumerate(SPECIAL_TOKENS)}
    merges = json.loads(learned.to_str())["model"]["merges"]
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[tuple(pair) for pair in merges],
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        extra_special_tokens=[START_OF_TURN],
        add_prefix_space=False,
        model_max_length=MAX_LENGTH,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _sentences() -> Iterator[str]:
    for fact in sources.facts():
        for _, question in sources.trained_questions(fact):
            # The words of the template come with each question, so that they become one token each.
            yield from (question, "user", "assistant", "system")
        yield fact.reply
    for talk in sources.small_talk():
        yield from (*talk.questions, talk.reply)
    for pair in sources.pairs():
        yield from (pair.prompt, pair.rejected, pair.chosen)
    for one in sources.instructions():
        yield from (one.question, one.reply)
    yield sources.REFUSAL
