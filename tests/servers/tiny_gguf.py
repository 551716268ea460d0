"""The built-in model as a GGUF file, written with the package gguf: what llama.cpp's server needs in the tests.

The converter that users have is tested elsewhere; it is no part of the repository and cannot be fetched in a test.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny"
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_tiny_gguf(
    path: Path, *, model: Path = MODEL, template: str | None = None, eos: int | None = None, bos: int | None = None
) -> Path:
    """Write the model in float16, its norms and biases in float32, as llama.cpp's converter does.

    Args:
        path: The file.
        model: Folder with a fine-tuned one, in bfloat16.
        template: Instead of the model's own; empty for none.
        eos: Instead of the token the model stops at.
        bos: Token that llama.cpp is told to begin every text with; None for none.
    """
    from gguf import GGUFWriter, TokenType

    config = json.loads((MODEL / "config.json").read_text())
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text("utf-8"))
    writer = GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(1)
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids = {**tokenizer["model"]["vocab"], **special}
    tokens = sorted(ids, key=lambda token: ids[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"] if eos is None else eos)
    if bos is not None:
        writer.add_bos_token_id(bos)
        writer.add_add_bos_token(True)
    writer.add_pad_token_id(config["pad_token_id"])
    if template != "":
        writer.add_chat_template(template or (MODEL / "chat_template.jinja").read_text())
    for name, weights in _weights(model / "model.safetensors"):
        large = weights.ndim > 1
        writer.add_tensor(_gguf_name(name), weights.astype(np.float16 if large else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.{kind}"


def _weights(path: Path) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return the tensors in float32. numpy has no bfloat16: it is the upper half of one."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    found = []
    for name, about in header.items():
        if name == "__metadata__":
            continue
        assert about["dtype"] == "BF16"
        begin, end = about["data_offsets"]
        upper = np.frombuffer(raw[8 + length + begin : 8 + length + end], "<u2").astype(np.uint32)
        found.append((name, (upper << 16).view(np.float32).reshape(about["shape"])))
    return found
