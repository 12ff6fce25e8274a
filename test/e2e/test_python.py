#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python package, installed by pip from its wheel: answers, logits and tokens are quant-run's, errors are exceptions.

    python3 test/e2e/test_python.py --bin build/bin --library build/tools/libquant/libquant.so [unittest arguments]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import hashlib
import inspect
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from compare import quant_run
from tiny import CHECKPOINT, ROOT

sys.path.insert(0, str(ROOT / "tools" / "python"))
sys.dont_write_bytecode = True

import build_wheel  # noqa: E402

PROMPT = "The captain looked out upon the sea, and"


class Context:
    """Set by main(): the build, and a folder with the wheel, the package and what it compiled."""

    binaries: Path
    library: Path
    scratch: Path
    wheel: Path
    compiled: dict[str, Any]

    @classmethod
    def module(cls) -> Path:
        return cls.scratch / "tiny.qmod"

    @classmethod
    def prepare(cls) -> None:
        cls.wheel = build_wheel.build(cls.library, cls.binaries, "0.1.0", cls.scratch / "wheel", with_llvm=False)
        site = cls.scratch / "site"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile",
               "--root-user-action=ignore"]  # fmt: skip
        subprocess.run([*pip, "--target", site, cls.wheel], check=True, timeout=120)
        sys.path.insert(0, str(site))
        os.environ.pop("QUANT_BIN", None)
        import quantcompiler

        assert Path(quantcompiler.__file__).is_relative_to(site)
        globals()["qc"] = quantcompiler
        cls.compiled = quantcompiler.compile(CHECKPOINT, cls.module(), target="host")


def quant_run_json(*arguments: object) -> dict[str, Any]:
    command = [Context.binaries / "quant-run", Context.module(), "--weights", CHECKPOINT, "--json", *arguments]
    return json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=120).stdout)


def script(text: str, **options: Any) -> subprocess.Popen[str]:
    """A process that runs Python with the package."""
    setup = f"import sys; sys.path.insert(0, {str(Context.scratch / 'site')!r})\n"
    arguments = [str(Context.module()), str(CHECKPOINT)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([sys.executable, "-c", setup + text, *arguments], **options)


class PythonTest(unittest.TestCase):
    def setUp(self) -> None:
        self.model = qc.Model(Context.module(), CHECKPOINT)
        self.addCleanup(self.model.close)

    @contextlib.contextmanager
    def fails(self, code: str, message: str) -> Any:
        with self.assertRaisesRegex(qc.Error, message) as caught:
            yield
        self.assertEqual(caught.exception.code, qc.Code[code])


@contextlib.contextmanager
def subnormals_as_zero() -> Any:
    """This thread's SSE units take subnormal operands and results as 0, as torch.set_flush_denormal makes them."""
    libm, saved = ctypes.CDLL("libm.so.6"), ctypes.create_string_buffer(32)  # fenv_t of x86-64: MXCSR is its last dword
    libm.fegetenv(saved)
    flushing = ctypes.create_string_buffer(saved.raw[:28] + (int.from_bytes(saved.raw[28:32], "little") | 0x8040).to_bytes(4, "little"), 32)
    libm.fesetenv(flushing)
    try:
        yield
    finally:
        libm.fesetenv(saved)


class Answers(PythonTest):
    def test_greedy_text_is_quant_runs(self) -> None:
        expected = quant_run_json("--prompt", PROMPT, "--max-new-tokens", 40)
        self.assertEqual(self.model.generate(PROMPT, max_tokens=40), expected["text"])
        self.assertEqual(self.model.generate(expected["prompt"], max_tokens=40), expected["text"])
        self.assertEqual(self.model.generate_tokens(np.array(expected["prompt"]), max_tokens=40), expected["tokens"])

    def test_stream_joins_to_the_text(self) -> None:
        text = self.model.generate(PROMPT, max_tokens=40)
        answer = self.model.generate(PROMPT, max_tokens=40, stream=True)
        self.assertIsNone(answer.finish_reason)
        first = next(answer)
        self.assertEqual((answer.prompt_tokens_run, len(answer.tokens)), (1, 1))  # the context held the rest of the prompt
        pieces = [first, *answer]
        self.assertEqual("".join(pieces), text)
        self.assertGreater(len(pieces), 20)
        self.assertEqual((answer.finish_reason, len(answer.tokens), list(answer)), ("length", 40, []))
        self.assertGreater(answer.seconds[1], 0)

    def test_sampling_stops_and_logprobs_are_quant_runs(self) -> None:
        sampling = {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 2**64 - 1}
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in sampling.items()]
        whole = quant_run_json("--prompt", PROMPT, "--max-new-tokens", 30, *flags)["text"]
        flags.append(f"--stop={whole[20:23]}")
        expected = quant_run_json("--prompt", PROMPT, "--max-new-tokens", 30, "--logprobs", 2, *flags)
        answer = self.model.generate(PROMPT, max_tokens=30, stop=whole[20:23], logprobs=2, stream=True, **sampling)
        self.assertEqual((answer.read(), answer.tokens, answer.finish_reason), (expected["text"], expected["tokens"], "stop"))
        for mine, theirs in zip(answer.logprobs, expected["logprobs"]):
            self.assertEqual([one.token for one in mine], [theirs["token"], *(one["token"] for one in theirs["top"])])
            self.assertEqual(mine[0].logprob, np.float32(theirs["logprob"]))

    def test_end_tokens(self) -> None:
        tokens = self.model.generate_tokens([0, 965], max_tokens=8)
        stopped = self.model.generate_tokens([0, 965], max_tokens=8, stop_tokens=[tokens[2]])
        self.assertEqual(stopped, tokens[: tokens.index(tokens[2]) + 1])
        self.assertEqual(self.model.end_tokens, [1])
        self.assertEqual(len(self.model.generate_tokens([0, 965], max_tokens=300, ignore_eos=True)), 300)

    def test_mtp_changes_no_token(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            module = Path(folder) / "mtp.qmod"
            qc.compile(CHECKPOINT, module, mtp=True, host_isa="avx2")
            plain, guessing = qc.Model(module, CHECKPOINT), qc.Model(module, CHECKPOINT, mtp=True)
            for prompt in (PROMPT, "Psalm 23"):
                answer = guessing.generate(prompt, max_tokens=40, stream=True)
                self.assertEqual(answer.read(), plain.generate(prompt, max_tokens=40))
                guesses, right = answer.guesses
                self.assertEqual((0 < right <= guesses, answer.finish_reason), (True, "length"))
            with self.assertRaisesRegex(qc.Error, "has no MTP layer to guess with; compile it with --mtp"):
                qc.Model(Context.module(), CHECKPOINT, mtp=True)

    def test_chat_is_quant_runs_and_remembers(self) -> None:
        messages = [{"role": "user", "content": "Hello"}]
        command = [Context.binaries / "quant-run", Context.module(), "--weights", CHECKPOINT, "--chat", "--max-new-tokens", "12"]
        said = subprocess.run(list(map(str, command)), input="Hello\n", check=True, capture_output=True, text=True, timeout=120).stdout
        self.assertEqual(self.model.chat(messages, max_tokens=12) + "\n", said)
        messages += [{"role": "assistant", "content": said[:-1]}, {"role": "user", "content": "And you?"}]
        answer = self.model.chat(messages, max_tokens=12, stream=True)
        self.assertLess(answer.prompt_tokens_run, answer.prompt_tokens)
        fresh = qc.Model(Context.module(), CHECKPOINT)
        self.assertEqual(answer.read(), fresh.chat(messages, max_tokens=12))

    def test_an_answer_ends_with_its_context(self) -> None:
        short = qc.Model(Context.module(), CHECKPOINT, context=16)
        answer = short.generate([0, 965, 7], ignore_eos=True, stream=True)
        answer.read()
        self.assertEqual((answer.finish_reason, len(answer.tokens), short.position), ("length", 14, 16))

    def test_a_model_used_otherwise_ends_its_answers(self) -> None:
        stale = self.model.generate(PROMPT, stream=True)
        next(stale)
        self.model.reset()
        with self.fails("INVALID_ARGUMENT", "its model has been used for something else"):
            next(stale)
        with self.assertRaises(StopIteration):  # it has ended
            next(stale)
        stale = self.model.generate(PROMPT, stream=True)
        self.model.close()
        with self.fails("INVALID_ARGUMENT", "the model is closed"):
            next(stale)

    def test_interrupt_stops_the_answer_alone(self) -> None:
        process = script("""
import quantcompiler as qc
model = qc.Model(*sys.argv[1:])
expected = model.generate("Hello", max_tokens=5)
try:
    print("ready", flush=True)
    while True:
        model.generate("Hello", max_tokens=500, ignore_eos=True)
except KeyboardInterrupt:
    print(model.position > 0 and model.generate("Hello", max_tokens=5) == expected)
""")  # fmt: skip
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate(timeout=60), ("True\n", ""))

    def test_threads(self) -> None:
        expected, found = self.model.generate(PROMPT, max_tokens=20), {}
        other = qc.Model(Context.module(), CHECKPOINT, threads=1)

        def work(i: int) -> None:
            found[i] = [(self.model if i % 2 else other).generate(PROMPT, max_tokens=20) for _ in range(2)]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, {i: [expected] * 2 for i in range(4)})


class Logits(PythonTest):
    def test_bits_are_quant_runs(self) -> None:
        prompt = self.model.tokenizer.encode(PROMPT)
        expected = quant_run(Context.binaries / "quant-run", Context.module(), CHECKPOINT, prompt, 0).logits
        logits = self.model.forward(prompt)
        self.assertEqual((logits.dtype, logits.shape), (np.float32, (len(prompt), self.model.vocab)))
        np.testing.assert_array_equal(logits.view(np.int32), np.asarray(expected, np.float32).view(np.int32))
        self.model.reset()
        out = np.empty((1, self.model.vocab), np.float32)
        self.assertIs(self.model.forward(np.array(prompt, np.uint8 if max(prompt) < 256 else np.int64), outputs=1, out=out), out)
        np.testing.assert_allclose(out[0], logits[-1], atol=1e-4)  # the head's kernel for one row sums in another order
        kept = logits.copy()
        self.model.forward([5])
        self.model.close()
        np.testing.assert_array_equal(logits, kept)  # the array's own

    def test_context(self) -> None:
        first = self.model.forward([0, 5, 6])
        self.assertEqual(self.model.position, 3)
        self.model.reset(1)
        self.model.prefill([5])
        np.testing.assert_array_equal(self.model.forward([6])[0], first[2])
        self.assertEqual((self.model.position, self.model.context), (3, 1024))
        self.assertEqual(self.model.forward([6], outputs=0).shape, (0, self.model.vocab))


class Sequences(PythonTest):
    def setUp(self) -> None:
        self.model = qc.Model(Context.module(), CHECKPOINT, context=256, cache=400)
        self.addCleanup(self.model.close)

    def test_bits_do_not_depend_on_neighbours(self) -> None:
        prompts = [list(self.model.tokenizer.encode(text)) for text in (PROMPT, "Psalm 23", "It was")]
        alone = []
        for prompt in prompts:
            self.model.reset()
            self.model.prefill(prompt)
            alone.append(np.concatenate([self.model.forward([7]), self.model.forward([8, 9, 10])]))
        together = [self.model.sequence() for _ in prompts]
        for sequence, prompt in zip(together, prompts):
            sequence.prefill(prompt)
        first = self.model.forward_steps((sequence, [7]) for sequence in together)
        rest = self.model.forward_steps([(sequence, np.array([8, 9, 10])) for sequence in together])
        for expected, one, three in zip(alone, first, rest):
            self.assertEqual((one.shape, three.shape, three.dtype), ((1, self.model.vocab), (3, self.model.vocab), np.float32))
            np.testing.assert_array_equal(np.concatenate([one, three]).view(np.int32), expected.view(np.int32))
        self.assertEqual([sequence.position for sequence in together], [len(prompt) + 4 for prompt in prompts])
        last = self.model.forward_steps([(together[0], [1, 2])], outputs=1)
        self.assertEqual(last[0].shape, (1, self.model.vocab))

    def test_fork_reset_and_close(self) -> None:
        self.assertEqual(self.model.cache, (448, 448))  # 400 in whole pages of 64
        with self.model.sequence() as sequence:
            sequence.prefill(range(100))
            self.assertEqual(self.model.cache, (448, 320))
            fork = sequence.fork()
            self.assertEqual((fork.position, self.model.cache[1]), (100, 320))  # the same pages
            expected = sequence.forward([5])
            np.testing.assert_array_equal(fork.forward([5]), expected)
            fork.forward([6])
            sequence.reset(100)
            np.testing.assert_array_equal(sequence.forward([5]), expected)
            self.assertEqual((sequence.position, fork.position, self.model.position), (101, 102, 0))
        fork.close()
        self.assertEqual(self.model.cache, (448, 448))
        with self.fails("INVALID_ARGUMENT", "the sequence is closed"):
            sequence.forward([1])

    def test_the_start_of_another_one_is_used_again(self) -> None:
        first, second = self.model.sequence(), self.model.sequence()
        tokens = list(range(150))
        expected = first.forward(tokens, outputs=1)
        self.assertEqual(second.reuse(tokens), 128)
        np.testing.assert_allclose(second.forward(tokens[128:], outputs=1), expected, atol=1e-3)  # other calls, other sums
        with self.fails("INVALID_ARGUMENT", "has 150 tokens already"):
            second.reuse(tokens)

    def test_files(self) -> None:
        path = Context.scratch / "sequence.safetensors"
        sequence = self.model.sequence()
        sequence.prefill(range(70))
        sequence.save(path)
        restored = self.model.restore(path)
        self.assertEqual(restored.position, 70)
        np.testing.assert_array_equal(restored.forward([3, 4]), sequence.forward([3, 4]))
        with self.fails("INVALID_ARGUMENT", "/nonexistent"):
            sequence.save("/nonexistent/sequence")
        path.write_bytes(path.read_bytes()[:100])
        with self.fails("INVALID_ARGUMENT", re.escape(str(path))):
            self.model.restore(path)

    def test_refusals(self) -> None:
        sequence, other = self.model.sequence(), qc.Model(Context.module(), CHECKPOINT)
        with self.fails("INVALID_ARGUMENT", "of another session"):
            other.forward_steps([(sequence, [1])])
        with self.fails("INVALID_TOKEN", "id 1536"):
            self.model.forward_steps([(sequence, [1]), (self.model.sequence(), [1536])])
        self.assertEqual(sequence.position, 0)
        with self.fails("CONTEXT_FULL", ""):
            sequence.prefill([1] * 449)
        with self.assertRaises(TypeError):
            sequence.forward([1.5])
        with self.fails("INVALID_ARGUMENT", "cache is -1"):
            qc.Model(Context.module(), CHECKPOINT, cache=-1)
        self.model.close()
        for call in (lambda: sequence.position, lambda: sequence.forward([1]), sequence.fork, self.model.sequence, lambda: self.model.cache):
            with self.fails("INVALID_ARGUMENT", "is closed"):
                call()


class Texts(PythonTest):
    def test_tokens(self) -> None:
        with qc.Tokenizer(CHECKPOINT) as tokenizer:
            self.assertEqual(tokenizer.encode(PROMPT), quant_run_json("--prompt", PROMPT, "--max-new-tokens", 0)["prompt"])
            plain = tokenizer.encode("naïve 猫 \0 🙂", add_special_tokens=False)
            self.assertEqual(tokenizer.decode(plain), "naïve 猫 \0 🙂")
            self.assertEqual(tokenizer.encode("naïve 猫 \0 🙂"), [0, *plain])
            self.assertEqual((tokenizer.encode("", add_special_tokens=False), tokenizer.decode([])), ([], ""))
            self.assertEqual(tokenizer.decode(np.array([0, *plain]), skip_special_tokens=True), "naïve 猫 \0 🙂")
            self.assertEqual((tokenizer.token_id(tokenizer.decode([0])), tokenizer.token_id("not there")), (0, None))
            self.assertEqual((len(tokenizer), tokenizer.has_chat_template), (1536, True))
            self.assertIn("Hello", tokenizer.render_chat([{"role": "user", "content": "Hello"}]))
            with self.assertRaises(UnicodeEncodeError):
                tokenizer.encode("\ud800")
        with self.fails("INVALID_ARGUMENT", "the tokenizer is closed"):
            tokenizer.encode("x")

    def test_without_a_tokenizer_tokens_remain(self) -> None:
        folder = Context.scratch / "plain"
        folder.mkdir()
        (folder / "model.safetensors").symlink_to(CHECKPOINT / "model.safetensors")
        plain = qc.Model(Context.module(), folder)
        self.assertEqual(plain.generate_tokens([0, 965], max_tokens=5), self.model.generate_tokens([0, 965], max_tokens=5))
        with self.fails("INVALID_WEIGHTS", "tokenizer.json: is missing"):
            plain.generate("x")
        with self.fails("INVALID_ARGUMENT", "stop texts need a tokenizer"):
            plain.generate_tokens([0], stop="x")


class Refusals(PythonTest):
    def test_errors_have_codes(self) -> None:
        cases = [
            ("INVALID_MODULE", "cannot open", lambda: qc.Model("/nonexistent.qmod", CHECKPOINT)),
            ("INVALID_WEIGHTS", "/nonexistent", lambda: qc.Model(Context.module(), "/nonexistent")),
            ("INVALID_ARGUMENT", "there is no device 'tpu'", lambda: qc.Model(Context.module(), CHECKPOINT, device="tpu")),
            ("INVALID_MODULE", "no code of target 'sm_90a'", lambda: qc.Model(Context.module(), CHECKPOINT, device="cuda")),
            ("INVALID_ARGUMENT", "threads is -1", lambda: qc.Model(Context.module(), CHECKPOINT, threads=-1)),
            ("INVALID_ARGUMENT", "context is", lambda: qc.Model(Context.module(), CHECKPOINT, context=2**40)),
            ("INVALID_TOKEN", "token 1 is id 1536, the vocabulary has 0 to 1535", lambda: self.model.forward([1, 1536])),
            ("INVALID_TOKEN", "token 0 is id -1", lambda: self.model.generate([-1])),
            ("INVALID_TOKEN", "token 1 is id 4294967296", lambda: self.model.forward([1, 2**32])),
            ("CONTEXT_FULL", "overflow the context of 1024 rows", lambda: self.model.generate([1] * 1025)),
            ("INVALID_ARGUMENT", "no tokens", lambda: self.model.forward([])),
            ("INVALID_ARGUMENT", "the prompt has no tokens", lambda: self.model.generate([])),
            ("INVALID_ARGUMENT", "outputs is 2, not from 0 to 1", lambda: self.model.forward([1], outputs=2)),
            ("INVALID_ARGUMENT", "cannot go back to position 9 from 0", lambda: self.model.reset(9)),
            ("INVALID_ARGUMENT", "top_p", lambda: self.model.generate("x", top_p=0)),
            ("INVALID_ARGUMENT", "temperature", lambda: self.model.generate("x", temperature=float("nan"))),
            ("INVALID_ARGUMENT", "max_tokens is -1", lambda: self.model.generate("x", max_tokens=-1)),
            ("INVALID_ARGUMENT", "seed is", lambda: self.model.generate("x", seed=2**64)),
            ("INVALID_ARGUMENT", "variables are no JSON object", lambda: self.model.tokenizer.render_chat([], a=float("inf"))),
            ("INVALID_ARGUMENT", "array of objects", lambda: self.model.chat(["Hello"])),
        ]
        for code, message, call in cases:
            with self.subTest(message), self.fails(code, re.escape(message)):
                call()
        self.assertEqual(self.model.position, 0)

    def test_types(self) -> None:
        calls = [
            lambda: self.model.forward([1.0]),
            lambda: self.model.forward("12"),
            lambda: self.model.forward([True]),
            lambda: self.model.forward(np.array([1.5])),
            lambda: self.model.forward(np.array(3)),
            lambda: self.model.forward([[1]]),
            lambda: self.model.forward([1], out=np.empty((1, self.model.vocab))),
            lambda: self.model.generate("x", max_tokens=1.5),
            lambda: self.model.generate("x", max_new_tokens=1),
            lambda: self.model.generate("x", stop=[3]),
            lambda: self.model.tokenizer.encode(b"x"),
            lambda: qc.Model(3.5, CHECKPOINT),
        ]
        for i, call in enumerate(calls):
            with self.subTest(i), self.assertRaises(TypeError):
                call()
        values = [
            lambda: self.model.forward([1], out=np.empty((2, self.model.vocab), np.float32)),
            lambda: self.model.forward([1], out=np.empty((1, 2 * self.model.vocab), np.float32)[:, ::2]),
            lambda: qc.Model("a\0b", CHECKPOINT),
            lambda: self.model.generate("x", stop="a\0"),
        ]
        for i, call in enumerate(values):
            with self.subTest(i), self.assertRaises(ValueError):
                call()

    def test_closed(self) -> None:
        with qc.Model(Context.module(), CHECKPOINT) as model:
            tokenizer = model.tokenizer
        model.close()
        names = ("position", "context", "threads", "isa", "end_tokens", "targets", "program", "profile")
        calls = [lambda name=name: getattr(model, name) for name in names]
        calls += [lambda: model.forward([1]), lambda: model.prefill([1]), model.reset, lambda: model.generate("x"), lambda: tokenizer.decode([1])]
        for i, call in enumerate(calls):
            with self.subTest(i), self.fails("INVALID_ARGUMENT", "is closed"):
                call()


class Tools(PythonTest):
    def test_compile(self) -> None:
        self.assertEqual((Context.compiled["model"], Context.compiled["bytes"]), ("deepseek_v3", Context.module().stat().st_size))
        self.assertTrue(all(target.startswith("host/") for target in self.model.targets))
        self.assertEqual(self.model.config["model_type"], "deepseek_v3")

    def tool_error(self, status: int, message: str, *arguments: Any, **options: Any) -> str:
        """The call fails with the tool's message; what went to stderr before."""
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaisesRegex(qc.ToolError, message) as caught:
            arguments[0](*arguments[1:], **options)
        self.assertEqual(caught.exception.status, status)
        return said.getvalue()

    def test_errors_are_the_tools(self) -> None:
        self.tool_error(2, "Path does not exist: /nonexistent", qc.compile, "/nonexistent", "x.qmod")
        self.tool_error(2, "unknown", qc.compile, CHECKPOINT, "x.qmod", unknown=1)
        said = self.tool_error(1, "^/nonexistent: cannot open", qc.convert, "inspect", "/nonexistent")
        self.assertEqual(said, "")  # the exception says it
        with unittest.mock.patch.dict(os.environ, QUANT_BIN="/nonexistent"), self.assertRaisesRegex(qc.Error, "QUANT_BIN names"):
            qc.convert("inspect", CHECKPOINT)

    def test_progress_is_passed_on(self) -> None:
        """Where stderr is a terminal, the tool sees one, too; its error is the exception's alone."""
        tool = Context.scratch / "fake" / "quant-convert"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\n[ -t 2 ] && printf '\\r\\033[K42%% q' >&2\nprintf 'uant-convert: quant-convert: error: too big\\n' >&2\nexit 1\n")
        tool.chmod(0o755)
        reader, writer = pty.openpty()
        code = "import quantcompiler as qc\ntry: qc.convert('quantize', 'x')\nexcept qc.ToolError as error: print(error, error.status)"
        process = script(code, stderr=writer, env={**os.environ, "QUANT_BIN": str(tool.parent)})
        self.assertEqual(process.communicate(timeout=60)[0], "too big 1\n")
        os.close(writer)
        self.assertEqual(os.read(reader, 1000), b"\r\x1b[K42% quant-convert: ")
        os.close(reader)

    def test_convert(self) -> None:
        out = Context.scratch / "int8"
        with contextlib.redirect_stderr(io.StringIO()):
            qc.convert("quantize", CHECKPOINT, output=out, scheme="w8a8", ignore=["lm_head", "re:.*shared.*"])
        self.assertEqual(qc.convert("inspect", out)["config"]["scheme"], "ct-w8a8")


class Subnormals(unittest.TestCase):
    def test_the_callers_flushing_is_not_the_kernels(self) -> None:
        """AVX2 code decodes E4M3's subnormal codes by way of subnormal f32."""
        weights, module = Context.scratch / "fp8", Context.scratch / "fp8.qmod"
        with contextlib.redirect_stderr(io.StringIO()):
            qc.convert("quantize", CHECKPOINT, output=weights, scheme="fp8-tensor")
        qc.compile(weights, module, target="host", host_isa="avx2")

        def logits() -> np.ndarray:
            with qc.Model(module, weights, threads=2) as model:
                return np.array(model.forward(list(range(20)), outputs=20))

        expected = logits()
        with subnormals_as_zero():
            got = logits()
            self.assertEqual(np.float32(1e-20) * np.float32(1e-20), 0)
        np.testing.assert_array_equal(got, expected)


class Package(unittest.TestCase):
    def test_wheel(self) -> None:
        self.assertRegex(Context.wheel.name, r"^quantcompiler-0\.1\.0-py3-none-manylinux_2_\d+_x86_64\.whl$")
        with zipfile.ZipFile(Context.wheel) as wheel:
            names = wheel.namelist()
            record = wheel.read("quantcompiler-0.1.0.dist-info/RECORD").decode().splitlines()
            for line in record[:-1]:
                name, digest, size = line.split(",")
                data = wheel.read(name)
                hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                self.assertEqual((f"sha256={hashed}", int(size)), (digest, len(data)))
        self.assertEqual(sorted(line.split(",")[0] for line in record), sorted(names))
        self.assertIn("quantcompiler/py.typed", names)

    def test_library_exports_the_api_alone(self) -> None:
        library = Context.scratch / "site" / "quantcompiler" / "libquant.so"
        symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout.split("\n")
        exported = {line.split()[2].split("@")[0] for line in symbols if line}
        headers = "".join((ROOT / name).read_text() for name in ("runtime/api/quant.h", "tools/libquant/quant_text.h"))
        self.assertEqual(exported, set(re.findall(r"^QUANT_API.*?\*?(quant_\w+)\(", headers, re.MULTILINE)))
        needed = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
        self.assertEqual(set(re.findall(r"NEEDED.*\[(.*?)\.so", needed)) - {"libc", "libm", "ld-linux-x86-64"}, set())

    def test_works_without_numpy_and_torch(self) -> None:
        process = script("""
sys.modules["numpy"] = None  # as if it were not installed
import quantcompiler as qc
model = qc.Model(*sys.argv[1:])
print(len(model.generate("Hello", max_tokens=5)) > 0, "torch" in sys.modules)
try:
    model.forward([1])
except ImportError as error:
    print("pip install numpy" in str(error))
""")  # fmt: skip
        self.assertEqual(process.communicate(timeout=60), ("True False\nTrue\n", ""))

    def test_everything_public_is_documented(self) -> None:
        self.assertEqual(qc.__version__, "0.1.0")
        for name in set(qc.__all__) - {"__version__"}:
            thing = getattr(qc, name)
            members = [value for key, value in vars(thing).items() if not key.startswith("_")] if inspect.isclass(thing) else []
            for one in [thing, *(member for member in members if callable(member) or isinstance(member, property))]:
                self.assertTrue(inspect.getdoc(one), f"{name}: {one}")

    def test_the_documentation_runs(self) -> None:
        folder = Context.scratch / "docs"
        folder.mkdir()
        (folder / "DeepSeek-V2-Lite").symlink_to(CHECKPOINT)
        blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL)
        self.assertGreaterEqual(len(blocks), 4)
        process = script("\n".join(blocks), cwd=folder)
        _, said = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, help="the build's bin directory")
    parser.add_argument("--library", type=Path, required=True, help="libquant.so")
    arguments, rest = parser.parse_known_args()
    Context.binaries, Context.library = arguments.bin.resolve(), arguments.library.resolve()
    with tempfile.TemporaryDirectory(prefix="quant-python-") as scratch:
        Context.scratch = Path(scratch)
        Context.prepare()
        unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
