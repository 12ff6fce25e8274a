# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""libquant.so as ctypes sees it: runtime/api/quant.h and tools/libquant/quant_text.h say what its functions do."""

from __future__ import annotations

import ctypes
import operator
import os
import weakref
from array import array
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Callable, Iterable, Optional

from ._errors import Code, Error


class SessionOptions(ctypes.Structure):
    _fields_ = [
        ("threads", c_int32),
        ("profile", c_int32),
        ("context", c_int64),
        ("max_chunk", c_int64),
        ("isa", c_char_p),
        ("device", c_char_p),
        ("cache", c_int64),
        ("mtp", c_int32),
        ("eager", c_int32),
        ("overlap", c_int32),
    ]


class AnswerOptions(ctypes.Structure):
    _fields_ = [
        ("max_new_tokens", c_int64),
        ("temperature", c_double),
        ("top_p", c_double),
        ("min_p", c_double),
        ("top_k", c_int64),
        ("repetition_penalty", c_double),
        ("seed", c_uint64),
        ("logprobs", c_int32),
        ("ignore_end_tokens", c_int32),
        ("stop_tokens", POINTER(c_int32)),
        ("stop_token_count", c_int64),
        ("stops", POINTER(c_char_p)),
        ("stop_count", c_int64),
    ]


class Logprob(ctypes.Structure):
    _fields_ = [("token", c_int32), ("logprob", c_float)]


class Step(ctypes.Structure):
    _fields_ = [
        ("token", c_int32),
        ("text", c_void_p),
        ("bytes", c_int64),
        ("logprobs", POINTER(Logprob)),
        ("logprob_count", c_int64),
    ]


class AnswerState(ctypes.Structure):
    _fields_ = [
        ("finish", c_int32),
        ("prompt_tokens_run", c_int64),
        ("new_tokens", c_int64),
        ("prefill_seconds", c_double),
        ("decode_seconds", c_double),
        ("guesses", c_int64),
        ("right_guesses", c_int64),
    ]


class SequenceStep(ctypes.Structure):
    _fields_ = [
        ("sequence", c_void_p),
        ("tokens", POINTER(c_int32)),
        ("count", c_int64),
        ("outputs", c_int64),
        ("logits", c_void_p),
    ]


_IDS, _TEXT, _COUNT = POINTER(c_int32), POINTER(c_void_p), POINTER(c_int64)

#: Result and arguments of each function. A result of c_int32 is a status where `call` calls it.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "quant_version": (c_char_p, []),
    "quant_last_error": (c_char_p, []),
    "quant_module_open": (c_int32, [c_char_p, POINTER(c_void_p)]),
    "quant_module_free": (None, [c_void_p]),
    "quant_module_config": (c_char_p, [c_void_p]),
    "quant_module_vocab": (c_int64, [c_void_p]),
    "quant_module_max_context": (c_int64, [c_void_p]),
    "quant_module_targets": (c_char_p, [c_void_p]),
    "quant_module_program": (c_char_p, [c_void_p]),
    "quant_session_position": (c_int64, [c_void_p]),
    "quant_session_context": (c_int64, [c_void_p]),
    "quant_session_threads": (c_int32, [c_void_p]),
    "quant_session_isa": (c_char_p, [c_void_p]),
    "quant_session_profile": (c_char_p, [c_void_p]),
    "quant_session_cache_pages": (c_int64, [c_void_p]),
    "quant_session_free_pages": (c_int64, [c_void_p]),
    "quant_sequence_create": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "quant_sequence_fork": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "quant_sequence_free": (None, [c_void_p]),
    "quant_sequence_position": (c_int64, [c_void_p]),
    "quant_sequence_reset": (c_int32, [c_void_p, c_int64]),
    "quant_sequence_reuse": (c_int32, [c_void_p, POINTER(c_int32), c_int64, POINTER(c_int64)]),
    "quant_sequence_save": (c_int32, [c_void_p, c_char_p]),
    "quant_sequence_restore": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "quant_forward_steps": (c_int32, [c_void_p, POINTER(SequenceStep), c_int64]),
    "quant_tokenizer_open": (c_int32, [c_char_p, POINTER(c_void_p)]),
    "quant_tokenizer_free": (None, [c_void_p]),
    "quant_tokenizer_encode": (c_int32, [c_void_p, c_char_p, c_int64, c_int32, POINTER(_IDS), _COUNT]),
    "quant_tokenizer_decode": (c_int32, [c_void_p, _IDS, c_int64, c_int32, _TEXT, _COUNT]),
    "quant_tokenizer_chat": (c_int32, [c_void_p, c_char_p, c_char_p, _TEXT, _COUNT]),
    "quant_tokenizer_id": (c_int32, [c_void_p, c_char_p]),
    "quant_tokenizer_size": (c_int64, [c_void_p]),
    "quant_tokenizer_has_chat": (c_int32, [c_void_p]),
    "quant_generator_create": (c_int32, [c_void_p, c_char_p, POINTER(SessionOptions), c_void_p, POINTER(c_void_p)]),
    "quant_generator_free": (None, [c_void_p]),
    "quant_generator_session": (c_void_p, [c_void_p]),
    "quant_generator_forward": (c_int32, [c_void_p, _IDS, c_int64, c_int64, c_void_p]),
    "quant_generator_reset": (c_int32, [c_void_p, c_int64]),
    "quant_generator_end_tokens": (None, [c_void_p, POINTER(_IDS), _COUNT]),
    "quant_answer_options_init": (None, [POINTER(AnswerOptions)]),
    "quant_answer_begin": (c_int32, [c_void_p, _IDS, c_int64, POINTER(AnswerOptions), POINTER(c_void_p)]),
    "quant_answer_free": (None, [c_void_p]),
    "quant_answer_next": (c_int32, [c_void_p, POINTER(Step), POINTER(c_int32)]),
    "quant_answer_get_state": (None, [c_void_p, POINTER(AnswerState)]),
}


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(Path(__file__).with_name("libquant.so")))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


library = _load()


def text_of(value: Optional[bytes]) -> str:
    """A text that the library returned."""
    return (value or b"").decode("utf-8", "replace")


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a function that returns a status; raises Error with the library's message where it is not QUANT_OK."""
    if status := function(*arguments):
        raise Error(text_of(library.quant_last_error()), Code(status))


class Handle:
    """What a function of the library made: freed once, by close() or with the object."""

    def __init__(self, create: Callable[..., int], free: Callable[[c_void_p], None], what: str, *arguments: Any) -> None:
        pointer = c_void_p()
        call(create, *arguments, ctypes.byref(pointer))
        self._pointer, self._what = pointer, what
        self._finalizer = weakref.finalize(self, free, pointer)

    @property
    def pointer(self) -> c_void_p:
        """Raises Error once it is closed."""
        if not self._finalizer.alive:
            raise Error(f"the {self._what} is closed", Code.INVALID_ARGUMENT)
        return self._pointer

    @property
    def closed(self) -> bool:
        return not self._finalizer.alive

    def close(self) -> None:
        self._finalizer()


def path_bytes(path: Any) -> bytes:
    """A path for the library."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte in a path")
    return name


def text_bytes(text: Any, what: str) -> bytes:
    """A text for the library, which takes it with a length."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is {type(text).__name__}, not str")
    return text.encode()


def c_text(text: Any, what: str) -> bytes:
    """A text for the library, which takes it up to a NUL."""
    data = text_bytes(text, what)
    if b"\0" in data:
        raise ValueError(f"{what} has a null character")
    return data


def integer(value: Any, what: str, low: int, high: int) -> int:
    """An int in a range. Raises TypeError where it is none, Error where it is outside."""
    if isinstance(value, bool):
        raise TypeError(f"{what} is bool, not int")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is {type(value).__name__}, not int") from None
    if not low <= number <= high:
        raise Error(f"{what} is {number}, not from {low} to {high}", Code.INVALID_ARGUMENT)
    return number


def ids(tokens: Iterable[int], what: str = "token") -> Any:
    """Token ids as an array of the library. Takes ints and 1-d integer arrays (NumPy's, torch's)."""
    if isinstance(tokens, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"{what}s are {type(tokens).__name__}, not ints")
    values = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
    if not isinstance(values, list):
        raise TypeError(f"{what}s are a single number, not a list of ints")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{what} {i} is {value!r:.60}, not an int")
    try:
        numbers = array("i", values)
    except OverflowError:
        i, value = next((i, value) for i, value in enumerate(values) if not -(2**31) <= value < 2**31)
        raise Error(f"{what} {i} is id {value}, outside of every vocabulary", Code.INVALID_TOKEN) from None
    return (c_int32 * len(numbers)).from_buffer(numbers)


def copied_ids(pointer: Any, count: c_int64) -> list[int]:
    """What a function of the library shows, as a list."""
    return pointer[: count.value] if count.value else []


def copied_text(pointer: Any, count: int) -> str:
    return ctypes.string_at(pointer, count).decode("utf-8", "replace") if count else ""
