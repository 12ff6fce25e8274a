# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled model: answers and logits."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import typing
import weakref
from ctypes import POINTER, c_char_p, c_int32, c_int64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Literal, Mapping, Optional, TypedDict, Union, overload

from ._errors import Code, Error
from ._library import (
    AnswerOptions,
    AnswerState,
    Handle,
    SessionOptions,
    Step,
    c_text,
    call,
    copied_ids,
    copied_text,
    ids,
    integer,
    library,
    path_bytes,
    text_of,
)
from ._sequence import Sequence, forward_steps
from ._tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from typing_extensions import Unpack

_INT32, _INT64, _UINT64 = 2**31 - 1, 2**63 - 1, 2**64 - 1
_PAGE = 64  # QUANT_PAGE_TOKENS
_FINISH = {1: "stop", 2: "length"}


class Options(TypedDict, total=False):
    """How an answer is made: keywords of generate, generate_tokens and chat.

    Tokens are chosen in these steps: repetition_penalty, min_p, top_k, temperature, top_p. The same seed gives the same tokens
    everywhere.
    """

    max_tokens: int  #: new tokens at most; default 128. The context may end the answer before
    temperature: float  #: 0 (the default) takes the likeliest token; above: softmax(logits / temperature)
    top_p: float  #: (0, 1]: the likeliest tokens that have this probability together; default 1
    top_k: int  #: the likeliest k tokens; 0 (the default): all
    min_p: float  #: [0, 1]: tokens at least this fraction as probable as the likeliest one; default 0
    repetition_penalty: float  #: above 0: logits of tokens that came before are divided by it, negative ones multiplied; default 1
    seed: int  #: of the random numbers, 0 to 2**64 - 1; default 0
    stop: Union[str, typing.Sequence[str]]  #: texts before which the answer ends
    stop_tokens: Iterable[int]  #: ids that end it, beside the model's own end tokens
    ignore_eos: bool  #: go on behind the model's own end tokens
    logprobs: int  #: log-probabilities of each token and of as many of the likeliest, see Answer.logprobs; default: none


@dataclass(frozen=True)
class Logprob:
    """A token and the natural logarithm of its probability by the model, before temperature and all cuts."""

    token: int
    logprob: float


class Answer(Iterator[str]):
    """An answer as it grows: iterate over the pieces of its text, each whole characters. A piece is computed when it is asked for.

    Breaking off is leaving it: what has come stays in the model's context. Using the model for something else ends it with an
    Error. It may be used where its model may.

    Attributes:
        tokens: ids so far, the one that ended the answer among them.
        logprobs: for each token, if asked for: its own, then those of the likeliest, likeliest first.
        prompt_tokens: tokens of the prompt.
    """

    def __init__(self, model: Model, prompt: Any, options: AnswerOptions) -> None:
        self.tokens: list[int] = []
        self.logprobs: list[list[Logprob]] = []
        self.prompt_tokens = len(prompt)
        self._model = model
        self._handle = Handle(library.quant_answer_begin, library.quant_answer_free, "answer", model._generator.pointer, prompt,
                              len(prompt), ctypes.byref(options))  # fmt: skip
        model._parts.add(self)

    def __next__(self) -> str:
        """The next piece. Raises Error where the model fails, with the runtime's message."""
        while (piece := self._step()) is not None:
            if piece:
                return piece
        raise StopIteration

    def _step(self) -> Optional[str]:
        """The text of the next token, which may be empty; None once the answer has ended."""
        step, more = Step(), c_int32()
        with self._model._lock:
            self._model._generator.pointer  # raises where the model is closed
            call(library.quant_answer_next, self._handle.pointer, ctypes.byref(step), ctypes.byref(more))
            if not more.value:
                return None
            if step.token >= 0:
                self.tokens.append(step.token)
            if step.logprob_count:
                self.logprobs.append([Logprob(one.token, one.logprob) for one in step.logprobs[: step.logprob_count]])
            return copied_text(step.text, step.bytes)

    def read(self) -> str:
        """The rest of the text."""
        return "".join(self)

    def _state(self) -> AnswerState:
        state = AnswerState()
        with self._model._lock:
            library.quant_answer_get_state(self._handle.pointer, ctypes.byref(state))
        return state

    @property
    def finish_reason(self) -> Optional[str]:
        """"stop": an end token or a stop text came; "length": as many tokens as were asked for, or the context is full; None: it
        has not ended."""
        return _FINISH.get(self._state().finish)

    @property
    def prompt_tokens_run(self) -> int:
        """Tokens of the prompt that the context did not hold already."""
        return int(self._state().prompt_tokens_run)

    @property
    def seconds(self) -> tuple[float, float]:
        """Time for the prompt, and for all new tokens but the first, which the prompt's pass gives."""
        state = self._state()
        return state.prefill_seconds, state.decode_seconds

    @property
    def guesses(self) -> tuple[int, int]:
        """How many tokens the MTP layer guessed, and how many of them were right: each saved a pass."""
        state = self._state()
        return state.guesses, state.right_guesses


def _answer_options(given: Mapping[str, Any]) -> AnswerOptions:
    """Options as the library takes them. It checks ranges; what ctypes would cut off is checked here."""
    unknown = sorted(set(given) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; known are {', '.join(Options.__annotations__)}")
    options = AnswerOptions()
    library.quant_answer_options_init(ctypes.byref(options))
    options.max_new_tokens = integer(given.get("max_tokens", 128), "max_tokens", 0, _INT64)
    for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
        if name in given:
            setattr(options, name, float(given[name]))
    if "top_k" in given:
        options.top_k = integer(given["top_k"], "top_k", 0, _INT64)
    if "seed" in given:
        options.seed = integer(given["seed"], "seed", 0, _UINT64)
    if given.get("logprobs") is not None:
        options.logprobs = integer(given["logprobs"], "logprobs", 0, 1000)
    options.ignore_end_tokens = int(bool(given.get("ignore_eos", False)))
    stop_tokens = ids(given.get("stop_tokens") or (), "stop token")
    options.stop_tokens, options.stop_token_count = ctypes.cast(stop_tokens, POINTER(c_int32)), len(stop_tokens)
    stop = given.get("stop") or ()
    stops = [c_text(one, "a stop text") for one in ([stop] if isinstance(stop, str) else stop)]
    options.stops, options.stop_count = (c_char_p * len(stops))(*stops), len(stops)
    return options


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise ImportError("logits are NumPy arrays: pip install numpy; all else of quantcompiler works without it") from error
    return numpy


class Model:
    """A compiled model (``*.qmod``) with a checkpoint's weights and a sequence of tokens, its context. There can be further sequences,
    see `sequence`.

    Any thread may use a model, its answers and its tokenizer; calls on one model wait for one another, and different models
    compute at the same time. The GIL is released while the model computes. After a fork, only the parent may use it.

    A module is native code that runs with your rights: open modules that you compiled, or whose maker you trust. Weight files are
    mapped and must not change; one that is cut short while it is mapped ends the process (SIGBUS).
    """

    def __init__(
        self,
        module: Union[str, os.PathLike[str]],
        weights: Union[str, os.PathLike[str]],
        *,
        device: str = "host",
        threads: int = 0,
        context: int = 0,
        max_chunk: int = 0,
        isa: Optional[str] = None,
        profile: bool = False,
        mtp: bool = False,
        cache: int = 0,
    ) -> None:
        """Opens a module and binds it to a checkpoint.

        Args:
            module: what quantcompiler.compile or quant-compile wrote.
            weights: folder of the checkpoint (``*.safetensors``) that it was compiled for; its tokenizer.json and chat template
                are used, if it has them.
            device: "host", the CPU; "cuda", the first H100 or H200 (tried on a simulated driver only).
            threads: CPU threads; 0: as many as CPUs that the process may run on.
            context: most tokens; 0: the module's limit. The host takes memory as they come, a GPU for all at once.
            max_chunk: prompt tokens of one step at most; 0: the module's limit.
            isa: "avx2", say: this code of the module, not the best that the CPU has.
            profile: measure every step, see `profile`.
            mtp: speculative decoding with the module's MTP layer, of a module that was compiled with it
                (``compile(..., mtp=True)``). The likeliest tokens stay the same, samples keep their distribution.
            cache: tokens of all sequences together that the KV cache holds, at least `context`, rounded up to pages of 64; 0: `context`.
                The host takes memory as they come.

        Raises:
            Error: INVALID_MODULE, INVALID_WEIGHTS, INVALID_ARGUMENT, UNSUPPORTED, NO_DEVICE, OUT_OF_MEMORY, DEVICE_ERROR.
        """
        self._lock = threading.RLock()
        self._parts: weakref.WeakSet[Union[Answer, Sequence]] = weakref.WeakSet()  # what is closed with the model
        self._module = Handle(library.quant_module_open, library.quant_module_free, "model", path_bytes(module))
        self._config: dict[str, Any] = json.loads(text_of(library.quant_module_config(self._module.pointer)))
        self._vocab: int = library.quant_module_vocab(self._module.pointer)
        options = SessionOptions(
            threads=integer(threads, "threads", 0, _INT32),
            profile=int(profile),
            context=integer(context, "context", 0, _INT64),
            max_chunk=integer(max_chunk, "max_chunk", 0, _INT64),
            isa=None if isa is None else c_text(isa, "isa"),
            device=c_text(device, "device"),
            mtp=int(bool(mtp)),
            cache=-(-integer(cache, "cache", 0, _INT32) // _PAGE) * _PAGE,
        )
        folder = path_bytes(weights)
        self._tokenizer: Union[Tokenizer, Error]
        try:
            self._tokenizer = Tokenizer(weights)
        except Error as error:
            self._tokenizer = error  # raised where a text is needed
        pointer = None if isinstance(self._tokenizer, Error) else self._tokenizer._handle.pointer
        self._generator = Handle(library.quant_generator_create, library.quant_generator_free, "model", self._module.pointer,
                                 folder, ctypes.byref(options), pointer)  # fmt: skip

    # ===--- Texts ---===

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's. Raises Error where it has none, or one that is not read; the message says why."""
        if isinstance(self._tokenizer, Error):
            raise Error(str(self._tokenizer), self._tokenizer.code)
        return self._tokenizer

    @overload
    def generate(
        self, prompt: Union[str, Iterable[int]], *, stream: Literal[False] = False, **options: Unpack[Options]
    ) -> str: ...
    @overload
    def generate(self, prompt: Union[str, Iterable[int]], *, stream: Literal[True], **options: Unpack[Options]) -> Answer: ...
    def generate(self, prompt: Any, *, stream: bool = False, **options: Any) -> Union[str, Answer]:
        """Goes on with a text.

        What the context holds of the prompt already is not run again. Ctrl-C ends it (KeyboardInterrupt); the model can go on being
        used.

        Args:
            prompt: a text, to which the tokenizer adds BOS if it is made so, or token ids.
            stream: False: the answer's text. True: an Answer, which gives the text piece by piece as it is computed.
            **options: see Options.

        Raises:
            Error: INVALID_ARGUMENT (options, an empty prompt), INVALID_TOKEN, CONTEXT_FULL (a prompt longer than the context),
                INVALID_WEIGHTS (no tokenizer); what the device says.
            TypeError: an option that is not known, or of another type.
        """
        tokenizer = self.tokenizer
        return self._answer(tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, stream, options)

    @overload
    def chat(
        self,
        messages: typing.Sequence[Mapping[str, Any]],
        *,
        stream: Literal[False] = False,
        template: Optional[Mapping[str, Any]] = None,
        **options: Unpack[Options],
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: typing.Sequence[Mapping[str, Any]],
        *,
        stream: Literal[True],
        template: Optional[Mapping[str, Any]] = None,
        **options: Unpack[Options],
    ) -> Answer: ...
    def chat(
        self,
        messages: Any,
        *,
        stream: bool = False,
        template: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Union[str, Answer]:
        """Answers a conversation, put together by the checkpoint's chat template. Of a conversation that goes on only what is new
        is run.

        Args:
            messages: each with role and content, the last one the user's.
            stream: as of generate.
            template: further variables of the template, such as ``{"thinking": True}`` or tools.
            **options: see Options.

        Raises:
            Error: as generate; INVALID_ARGUMENT where there is no template, or it refuses the messages.
        """
        rendered = self.tokenizer.render_chat(messages, **(template or {}))
        return self._answer(self.tokenizer.encode(rendered, add_special_tokens=False), stream, options)

    # ===--- Tokens ---===

    def generate_tokens(self, prompt: Iterable[int], **options: Unpack[Options]) -> list[int]:
        """New tokens after the prompt's, the one that ended the answer among them; needs no tokenizer.

        Args and errors are those of generate.
        """
        with self._lock:
            answer = self._begin(prompt, options)
            while answer._step() is not None:
                pass
            return answer.tokens

    def _begin(self, prompt: Iterable[int], options: Mapping[str, Any]) -> Answer:
        chosen, tokens = _answer_options(options), ids(prompt)
        with self._lock:
            return Answer(self, tokens, chosen)

    def _answer(self, prompt: Iterable[int], stream: bool, options: Mapping[str, Any]) -> Union[str, Answer]:
        with self._lock:  # nobody else uses the model until a whole answer is there
            answer = self._begin(prompt, options)
            return answer if stream else answer.read()

    def forward(
        self, tokens: Iterable[int], *, outputs: Optional[int] = None, out: Optional[NDArray[numpy.float32]] = None
    ) -> NDArray[numpy.float32]:
        """Appends tokens to the context and computes logits. Needs NumPy.

        The runtime writes into the array's own memory: nothing is copied on the way to NumPy, and the array stays what it is
        whatever becomes of the model.

        Args:
            tokens: at least one id.
            outputs: logits of the last so many tokens, 0 to all (the default). A row has 4 * vocab bytes.
            out: an array to write into instead of a new one: float32, [outputs, vocab], contiguous.

        Returns:
            float32 [outputs, vocab]: row i has the logits for what comes behind that token. `out`, if it was given.

        Raises:
            Error: INVALID_TOKEN, CONTEXT_FULL (nothing has changed then), INVALID_ARGUMENT; what the device says.
            TypeError, ValueError: tokens that are no ints, an `out` of another type or shape.
        """
        given, rows, logits = self._outputs(tokens, outputs, out)
        self._forward(given, rows, logits.ctypes.data)
        return logits

    def _outputs(
        self, tokens: Iterable[int], outputs: Optional[int], out: Optional[NDArray[numpy.float32]]
    ) -> tuple[Any, int, NDArray[numpy.float32]]:
        """Tokens for the library, how many rows of logits they give, and the array for those; arguments and errors of forward."""
        numpy = _numpy()
        given = ids(tokens)
        rows = len(given) if outputs is None else integer(outputs, "outputs", 0, len(given))
        shape = (rows, self.vocab)
        if out is None:
            out = numpy.empty(shape, numpy.float32)
        elif not isinstance(out, numpy.ndarray) or out.dtype != numpy.float32:
            raise TypeError(f"out is {getattr(out, 'dtype', type(out).__name__)}, not an array of float32")
        elif out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
            raise ValueError(f"out is {list(out.shape)}, not a contiguous, writeable array of {list(shape)}")
        return given, rows, out

    def prefill(self, tokens: Iterable[int]) -> None:
        """Appends tokens to the context and computes no logits. Errors are those of forward; needs no NumPy."""
        self._forward(ids(tokens), 0, None)

    def _forward(self, tokens: Any, outputs: int, logits: Optional[int]) -> None:
        with self._lock:
            call(library.quant_generator_forward, self._generator.pointer, tokens, len(tokens), outputs, logits)

    def reset(self, position: int = 0) -> None:
        """Forgets all tokens from `position` on, 0 to the current position.

        Raises:
            Error: INVALID_ARGUMENT: it is beyond the current position.
        """
        with self._lock:
            call(library.quant_generator_reset, self._generator.pointer, integer(position, "position", 0, _INT64))

    # ===--- Several sequences ---===

    def sequence(self) -> Sequence:
        """A sequence without tokens, beside the model's own context."""
        with self._lock:
            return Sequence(self, Handle(library.quant_sequence_create, library.quant_sequence_free, "sequence", self._session()))

    def restore(self, path: Union[str, os.PathLike[str]]) -> Sequence:
        """The sequence that Sequence.save wrote; nothing is computed again.

        Raises:
            Error: INVALID_ARGUMENT: a damaged file, or one of another module or checkpoint; CONTEXT_FULL: it does not fit.
        """
        with self._lock:
            return Sequence(self, Handle(library.quant_sequence_restore, library.quant_sequence_free, "sequence", self._session(),
                                         path_bytes(path)))  # fmt: skip

    def forward_steps(
        self, steps: Iterable[tuple[Sequence, Iterable[int]]], *, outputs: Optional[int] = None
    ) -> list[NDArray[numpy.float32]]:
        """Sequence.forward for several sequences at once: steps of up to 4 tokens share calls, in which each weight is read once for
        all of them. Needs NumPy.

        Args:
            steps: sequences of this model, each once, with at least one token id each.
            outputs: logits of the last so many tokens of each sequence; default: of all.

        Returns:
            float32 [outputs, vocab] for each sequence.

        Raises:
            Error: as forward, also CONTEXT_FULL where the cache has no room; no sequence has changed then.
        """
        numbers = [(sequence, *self._outputs(tokens, outputs, None)) for sequence, tokens in steps]
        self._forward_steps(numbers)
        return [logits for *_, logits in numbers]

    def _forward_steps(self, steps: list[tuple[Sequence, Any, int, Any]]) -> None:
        with self._lock:
            forward_steps(self._session(), steps)

    @property
    def cache(self) -> tuple[int, int]:
        """Tokens that the KV cache holds of all sequences together, and those of them that no sequence has, in whole pages."""
        with self._lock:
            session = self._session()
            return library.quant_session_cache_pages(session) * _PAGE, library.quant_session_free_pages(session) * _PAGE

    # ===--- What it is ---===

    def _session(self) -> Any:
        return library.quant_generator_session(self._generator.pointer)

    @property
    def position(self) -> int:
        """Tokens in the context."""
        with self._lock:
            return int(library.quant_session_position(self._session()))

    @property
    def context(self) -> int:
        """Most tokens of the context."""
        with self._lock:
            return int(library.quant_session_context(self._session()))

    @property
    def threads(self) -> int:
        """CPU threads of the session."""
        with self._lock:
            return int(library.quant_session_threads(self._session()))

    @property
    def isa(self) -> str:
        """The instruction set whose code runs, "avx512" say."""
        with self._lock:
            return text_of(library.quant_session_isa(self._session()))

    @property
    def vocab(self) -> int:
        """Token ids are below this."""
        return self._vocab

    @property
    def config(self) -> dict[str, Any]:
        """The model configuration that the module was compiled from."""
        return self._config

    @property
    def end_tokens(self) -> list[int]:
        """The tokens that end an answer by the configuration (eos_token_id)."""
        tokens, count = POINTER(c_int32)(), c_int64()
        with self._lock:
            library.quant_generator_end_tokens(self._generator.pointer, ctypes.byref(tokens), ctypes.byref(count))
            return copied_ids(tokens, count)

    @property
    def targets(self) -> list[str]:
        """What the module has code for, best first: ["host/avx512", "host/avx2"]."""
        with self._lock:
            return text_of(library.quant_module_targets(self._module.pointer)).split()

    @property
    def program(self) -> str:
        """The compiled program as text, for people."""
        with self._lock:
            return text_of(library.quant_module_program(self._module.pointer))

    @property
    def profile(self) -> str:
        """Where time went so far: a table of seconds, calls and step, slowest first. Empty unless asked for."""
        with self._lock:
            return text_of(library.quant_session_profile(self._session()))

    def close(self) -> None:
        """Frees the session with its answers and sequences, the mapped weights and the tokenizer; arrays of logits stay. Waits for a call at
        work. Closing twice does nothing."""
        with self._lock:
            for part in list(self._parts):
                part._handle.close()
            self._generator.close()
            self._module.close()
            if isinstance(self._tokenizer, Tokenizer):
                self._tokenizer.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
