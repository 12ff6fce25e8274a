# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What goes wrong, as exceptions."""

from __future__ import annotations

import enum
from typing import Optional


class Code(enum.IntEnum):
    """What an error is to a program: quant_status of runtime/api/quant.h."""

    INVALID_ARGUMENT = 1  #: a value out of its range, a closed object, a conversation that the template refuses
    INVALID_MODULE = 2  #: unreadable, damaged, or without code for the device and isa that were asked for
    INVALID_WEIGHTS = 3  #: checkpoint or tokenizer unreadable, or not the ones the module was compiled for
    INVALID_TOKEN = 4  #: token id outside the vocabulary
    CONTEXT_FULL = 5  #: more tokens than the context has rows
    INTERNAL_ERROR = 6  #: a fault of the runtime or of the module's program
    OUT_OF_MEMORY = 7  #: memory or threads that the system or the device does not give
    NO_DEVICE = 8  #: the machine has no such device, or its driver is missing or too old
    UNSUPPORTED = 9  #: the module has no code for some of its kernels on the device
    DEVICE_ERROR = 10  #: the device failed


class Error(Exception):
    """What the runtime or a tool says is wrong: one line, naming file, tensor and value.

    Attributes:
        code: what it is to a program.
    """

    def __init__(self, message: str, code: Optional[Code] = None) -> None:
        super().__init__(message)
        self.code = code


class ToolError(Error):
    """quant-compile or quant-convert could not do it; the message is the tool's. ``code`` is None.

    Attributes:
        tool: "quant-compile" or "quant-convert".
        status: its exit status: 1 it cannot be done, 2 wrong usage, negative: ended by that signal.
    """

    def __init__(self, message: str, tool: str, status: int) -> None:
        super().__init__(message)
        self.tool = tool
        self.status = status
