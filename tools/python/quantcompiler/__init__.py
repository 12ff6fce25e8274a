# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled DeepSeek models from Python: answers, logits, the tokenizer, and the compiler and converter as functions.

    import quantcompiler as qc

    qc.compile("DeepSeek-V2-Lite", "lite.qmod")
    with qc.Model("lite.qmod", "DeepSeek-V2-Lite") as model:
        print(model.generate("The capital of France is", max_tokens=32))
        for piece in model.chat([{"role": "user", "content": "Hello"}], stream=True):
            print(piece, end="", flush=True)
        logits = model.forward(model.tokenizer.encode("Hello"))  # NumPy, float32 [tokens, vocab]

Needs neither torch nor a compiler at run time; NumPy only for logits.
"""

from __future__ import annotations

from ._errors import Code, Error, ToolError
from ._library import library as _library
from ._model import Answer, Logprob, Model, Options
from ._sequence import Sequence
from ._tokenizer import Tokenizer
from ._tools import compile, convert

__version__: str = _library.quant_version().decode()

__all__ = ["Answer", "Code", "Error", "Logprob", "Model", "Options", "Sequence", "Tokenizer", "ToolError", "compile", "convert", "__version__"]
