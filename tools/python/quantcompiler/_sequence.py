# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Several sequences of tokens in one model."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_int64
from typing import TYPE_CHECKING, Any, Iterable, Optional, Union

from ._library import Handle, SequenceStep, call, ids, integer, library, path_bytes

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ._model import Model

_INT64 = 2**63 - 1


class Sequence:
    """A sequence of tokens beside the model's own context: Model.sequence makes one, Model.restore reads one from a file.

    The sequences of a model share its weights, and the pages (64 tokens each) of its KV cache. On the host a sequence computes the
    same numbers, bit for bit, whatever other sequences do. It may be used where its model may, and is closed with it.
    """

    def __init__(self, model: Model, handle: Handle) -> None:
        self._model = model
        self._handle = handle
        model._parts.add(self)

    @property
    def position(self) -> int:
        """Tokens in the sequence."""
        with self._model._lock:
            return int(library.quant_sequence_position(self._handle.pointer))

    def forward(
        self, tokens: Iterable[int], *, outputs: Optional[int] = None, out: Optional[NDArray[numpy.float32]] = None
    ) -> NDArray[numpy.float32]:
        """Appends tokens and computes logits, as Model.forward does for the model's own context."""
        given, rows, logits = self._model._outputs(tokens, outputs, out)
        self._model._forward_steps([(self, given, rows, logits)])
        return logits

    def prefill(self, tokens: Iterable[int]) -> None:
        """Appends tokens and computes no logits. Errors are those of Model.forward; needs no NumPy."""
        self._model._forward_steps([(self, ids(tokens), 0, None)])

    def reset(self, position: int = 0) -> None:
        """Forgets all tokens from `position` on, 0 to the current position.

        Raises:
            Error: INVALID_ARGUMENT: it is beyond the current position.
        """
        with self._model._lock:
            call(library.quant_sequence_reset, self._handle.pointer, integer(position, "position", 0, _INT64))

    def fork(self) -> Sequence:
        """Another sequence with the same tokens. Both use the same pages; nothing is computed again."""
        with self._model._lock:
            return Sequence(self._model, Handle(library.quant_sequence_fork, library.quant_sequence_free, "sequence", self._handle.pointer))

    def reuse(self, tokens: Iterable[int]) -> int:
        """Gives a sequence without tokens the start of `tokens`, as far as the KV cache still holds it from other sequences.

        Returns:
            how many tokens that were: whole pages of 64, fewer than all. Compute the rest with forward. A token that was computed
            as one of a prompt may differ by rounding from one that was computed alone.

        Raises:
            Error: INVALID_ARGUMENT: the sequence has tokens.
        """
        given, reused = ids(tokens), c_int64()
        with self._model._lock:
            call(library.quant_sequence_reuse, self._handle.pointer, given, len(given), ctypes.byref(reused))
        return reused.value

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes the tokens and their part of the KV cache to a file (safetensors), some kilobytes a token, for Model.restore.

        Raises:
            Error: INVALID_ARGUMENT: the file cannot be written.
        """
        with self._model._lock:
            call(library.quant_sequence_save, self._handle.pointer, path_bytes(path))

    def close(self) -> None:
        """Frees the sequence and the pages that it alone holds. Closing twice does nothing."""
        with self._model._lock:
            self._handle.close()

    def __enter__(self) -> Sequence:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def forward_steps(session: Any, steps: list[tuple[Sequence, Any, int, Any]]) -> None:
    """One call of quant_forward_steps: of each sequence its token ids, how many rows of logits, and the array for them or None."""
    array = (SequenceStep * len(steps))()
    for step, (sequence, tokens, rows, logits) in zip(array, steps):
        step.sequence, step.tokens, step.count, step.outputs = sequence._handle.pointer, tokens, len(tokens), rows
        step.logits = None if logits is None else logits.ctypes.data
    call(library.quant_forward_steps, session, array, len(steps))
