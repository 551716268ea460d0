"""The number format that an adapter is trained in, whatever a library puts into its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def trained_types_kept(model: Any) -> Iterator[None]:
    """Give trained weights the type back that they had, after what happens inside."""
    types = {name: weights.dtype for name, weights in model.named_parameters() if weights.requires_grad}
    yield
    for name, weights in model.named_parameters():
        if name in types and weights.dtype != types[name]:
            weights.data = weights.data.to(types[name])
