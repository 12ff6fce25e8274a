# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-compile and quant-convert as functions: each call is a process of its own."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterable, Mapping, Union

from ._errors import Error, ToolError

_PACKAGE = Path(__file__).parent
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def _tool(name: str) -> Path:
    """Where a tool is: in the folder QUANT_BIN of the environment, in this package, or on PATH."""
    folder = os.environ.get("QUANT_BIN")
    if folder:
        path = Path(folder, name)
        if path.is_file():
            return path
        raise Error(f"{path}: is missing; QUANT_BIN names the folder of {name}")
    packed = _PACKAGE / "bin" / name
    if packed.is_file():
        return packed
    found = shutil.which(name)
    if found:
        return Path(found)
    raise Error(f"{name} is neither in this package nor on PATH; build it and set QUANT_BIN to its folder")


def _environment() -> dict[str, str]:
    """That of this process; libraries that the package brings are found first."""
    environment = dict(os.environ)
    if (_PACKAGE / "lib").is_dir():
        paths = [str(_PACKAGE / "lib"), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
    return environment


class _Stderr:
    """What a tool says while it works: passed on to sys.stderr as it comes, up to its error message, and kept for the exception."""

    def __init__(self, tool: str) -> None:
        self._marker = f"{tool}: error: "
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may begin with the marker
        self._said = ""

    def feed(self, data: bytes, final: bool = False) -> None:
        text = self._decoder.decode(data, final)
        self._said = (self._said + text)[-65536:]
        self._held += text
        if self._held.startswith(self._marker):
            return
        found = self._held.find(self._marker)
        if found < 0:
            ends = range(min(len(self._marker) - 1, len(self._held)), 0, -1)
            most = 0 if final else next((n for n in ends if self._held.endswith(self._marker[:n])), 0)
            found = len(self._held) - most
        if found and sys.stderr:
            sys.stderr.write(self._held[:found])
            sys.stderr.flush()
        self._held = self._held[found:]

    def message(self) -> str:
        said = _CONTROL.sub("", self._said)
        return said[said.find(self._marker) + len(self._marker) :].strip() if self._marker in said else said.strip()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how a pseudo-terminal ends
        return b""


def _run(tool: str, arguments: list[str]) -> dict[str, Any]:
    """Runs a tool with --json; gives what it printed. Where sys.stderr is a terminal the tool sees one, too, and draws its
    progress."""
    terminal = bool(sys.stderr) and sys.stderr.isatty()
    reader, writer = pty.openpty() if terminal else os.pipe()
    stderr = _Stderr(tool)
    with tempfile.TemporaryFile() as printed, os.fdopen(reader, "rb", buffering=0):
        command = [str(_tool(tool)), *arguments, "--json"]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=writer, env=_environment())
        finally:
            os.close(writer)
        try:
            while data := _read(reader):
                stderr.feed(data)
            stderr.feed(b"", final=True)
            status = process.wait()
        except BaseException:  # Ctrl-C, mostly
            process.terminate()
            process.wait()
            raise
        printed.seek(0)
        output = printed.read().decode("utf-8", "replace")
    if status:
        raise ToolError(_explain(tool, stderr.message(), status), tool, status)
    return json.loads(output) if output.lstrip().startswith("{") else {}


def _explain(tool: str, message: str, status: int) -> str:
    if "error while loading shared libraries" in message:
        return f"{message}; the wheel was made without LLVM: install LLVM and MLIR 22, or take a wheel made with it"
    if status < 0:
        return f"{tool} was ended by signal {-status}" + (f": {message}" if message else "")
    return message or f"{tool} ended with status {status}"


def _flags(options: Mapping[str, Any]) -> list[str]:
    """{"kv_cache": "fp8", "ignore": ["a", "b"], "force": True} as --kv-cache=fp8 --ignore=a --ignore=b --force."""
    flags = []
    for name, value in options.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is True:
            flags.append(flag)
        elif value is not None and value is not False:
            many = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
            flags += [f"{flag}={os.fspath(one) if isinstance(one, os.PathLike) else one}" for one in (value if many else [value])]
    return flags


def compile(
    checkpoint: Union[str, os.PathLike[str]], output: Union[str, os.PathLike[str]], **options: Any
) -> dict[str, Any]:
    """Compiles a checkpoint to a module file; weights never enter it. What quant-compile says on the way goes to sys.stderr.

    Args:
        checkpoint: folder of a Hugging Face checkpoint, or a config.json.
        output: the module file to write.
        **options: those of ``quant-compile --help``, with underscores for dashes: ``target=["host", "sm_90a"]``,
            ``kv_cache="fp8"``, ``max_context=8192``. True is a flag, a list gives an option several times.

    Returns:
        quant-compile's summary: its ``--json``.

    Raises:
        ToolError: it cannot be compiled, or an option is wrong; with quant-compile's message.
        Error: there is no quant-compile.
    """
    return _run("quant-compile", [os.fspath(checkpoint), f"--output={os.fspath(output)}", *_flags(options)])


def convert(command: str, *arguments: Union[str, os.PathLike[str]], **options: Any) -> dict[str, Any]:
    """Runs a subcommand of quant-convert: quantize, dequantize, recode, cast-fp8, cast-bf16, shard, random, inspect, compare.
    Its progress and notes go to sys.stderr.

    Args:
        command: the subcommand.
        *arguments: its positional arguments: the checkpoint, mostly.
        **options: those of ``quant-convert COMMAND --help``, with underscores for dashes: ``output="out"``, ``scheme="w4a16"``,
            ``force=True``; ``for_=["vllm"]`` where Python has the word itself.

    Returns:
        What the subcommand says with ``--json``.

    Raises:
        ToolError: it cannot be done, or an option is wrong; with quant-convert's message.
        Error: there is no quant-convert.
    """
    return _run("quant-convert", [command, *(os.fspath(one) for one in arguments), *_flags(options)])
