# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A checkpoint's tokenizer and chat template."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from ctypes import POINTER, c_int32, c_int64, c_void_p
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from ._library import Handle, c_text, call, copied_ids, copied_text, ids, library, path_bytes, text_bytes


class Tokenizer:
    """The tokenizer of a checkpoint's tokenizer.json or tiktoken.model, equal to Hugging Face's and tiktoken's, with its chat
    template. docs/text.md of the project says what is read.

    Any thread may use it; calls wait for one another. Close it, or leave it to the garbage collector.
    """

    def __init__(self, weights: Union[str, os.PathLike[str]]) -> None:
        """Reads the tokenizer of folder `weights`.

        Raises:
            Error: INVALID_WEIGHTS: a file is missing, broken or asks for what is not known; it names the file and the key.
        """
        self._lock = threading.RLock()
        self._handle = Handle(library.quant_tokenizer_open, library.quant_tokenizer_free, "tokenizer", path_bytes(weights))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of `text`.

        Args:
            text: added tokens such as ``<|User|>`` are found wherever they stand in it.
            add_special_tokens: with what stands around a text that the model shall go on with: BOS, mostly, which is not put
                before a text that begins with it. Not for the text of a chat, whose template writes it.

        Raises:
            UnicodeEncodeError: the text has a lone surrogate.
        """
        data = text_bytes(text, "the text")
        tokens, count = POINTER(c_int32)(), c_int64()
        with self._lock:
            call(library.quant_tokenizer_encode, self._handle.pointer, data, len(data), int(add_special_tokens),
                 ctypes.byref(tokens), ctypes.byref(count))  # fmt: skip
            return copied_ids(tokens, count)

    def decode(self, tokens: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids; U+FFFD for bytes that are no UTF-8. Ids that there are no tokens of stand for nothing.

        Args:
            tokens: ints, or an integer array with one dimension.
            skip_special_tokens: without tokens that mark rather than say something, such as BOS.
        """
        given = ids(tokens)
        text, size = c_void_p(), c_int64()
        with self._lock:
            call(library.quant_tokenizer_decode, self._handle.pointer, given, len(given), int(skip_special_tokens),
                 ctypes.byref(text), ctypes.byref(size))  # fmt: skip
            return copied_text(text, size.value)

    def render_chat(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The prompt's text of a conversation by the chat template, up to where the assistant goes on; encode it without special
        tokens.

        Args:
            messages: each with role and content, and what else the template knows (tool_calls).
            **variables: further variables of the template, such as tools or thinking; JSON's types.

        Raises:
            Error: INVALID_ARGUMENT: there is no template, or it refuses the messages.
        """
        given = c_text(json.dumps(list(messages)), "messages")
        more = c_text(json.dumps(variables), "the template's variables")
        text, size = c_void_p(), c_int64()
        with self._lock:
            call(library.quant_tokenizer_chat, self._handle.pointer, given, more, ctypes.byref(text), ctypes.byref(size))
            return copied_text(text, size.value)

    def token_id(self, token: str) -> Optional[int]:
        """The id of a token by its name in tokenizer.json, which writes a space as U+0120, or by its bytes in tiktoken.model; None
        where there is none."""
        name = c_text(token, "the token")
        with self._lock:
            found = library.quant_tokenizer_id(self._handle.pointer, name)
        return None if found < 0 else found

    def __len__(self) -> int:
        """Ids of tokens are below this; a model's vocabulary may be larger."""
        with self._lock:
            return int(library.quant_tokenizer_size(self._handle.pointer))

    @property
    def has_chat_template(self) -> bool:
        """Whether render_chat and Model.chat have a template."""
        with self._lock:
            return bool(library.quant_tokenizer_has_chat(self._handle.pointer))

    def close(self) -> None:
        """Frees it. Closing twice does nothing."""
        with self._lock:
            self._handle.close()

    def __enter__(self) -> Tokenizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
