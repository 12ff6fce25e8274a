#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Several sequences in one session, on the small trained model, through the C API: each computes what it would alone, bit for bit.

    python3 test/e2e/test_sequences.py --bin build/bin --library build/runtime/api/libquant_runtime.so [unittest arguments]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

from test_toys import cpu_units, runnable_isas
from tiny import CHECKPOINT

I32, F32 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_float)


class Options(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int32), ("profile", ctypes.c_int32), ("context", ctypes.c_int64), ("max_chunk", ctypes.c_int64),
                ("isa", ctypes.c_char_p), ("device", ctypes.c_char_p), ("cache", ctypes.c_int64), ("mtp", ctypes.c_int32),
                ("eager", ctypes.c_int32), ("overlap", ctypes.c_int32)]  # fmt: skip


class Step(ctypes.Structure):
    _fields_ = [("sequence", ctypes.c_void_p), ("tokens", I32), ("count", ctypes.c_int64), ("outputs", ctypes.c_int64), ("logits", F32)]


class Session:
    """A session of the C API. A sequence is a ctypes.c_void_p."""

    def __init__(self, library: ctypes.CDLL, module: Path, weights: Path = CHECKPOINT, **options: object) -> None:
        self.api = library
        handle, self.handle = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.api.quant_module_open(os.fsencode(module), ctypes.byref(handle)))
        self.api.quant_module_vocab.restype = ctypes.c_int64
        self.vocab = self.api.quant_module_vocab(handle)
        given = Options(threads=2, **options)
        self.check(self.api.quant_session_create(handle, os.fsencode(weights), ctypes.byref(given), ctypes.byref(self.handle)))
        self.api.quant_module_free(handle)

    def check(self, status: int) -> None:
        if status != 0:
            self.api.quant_last_error.restype = ctypes.c_char_p
            raise RuntimeError(self.api.quant_last_error().decode())

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.quant_session_free(self.handle)

    def sequence(self) -> ctypes.c_void_p:
        created = ctypes.c_void_p()
        self.check(self.api.quant_sequence_create(self.handle, ctypes.byref(created)))
        return created

    def save(self, sequence: ctypes.c_void_p, path: Path) -> None:
        self.check(self.api.quant_sequence_save(sequence, os.fsencode(path)))

    def restore(self, path: Path) -> ctypes.c_void_p:
        restored = ctypes.c_void_p()
        self.check(self.api.quant_sequence_restore(self.handle, os.fsencode(path), ctypes.byref(restored)))
        return restored

    def free(self, sequence: ctypes.c_void_p) -> None:
        self.api.quant_sequence_free(sequence)

    def forward(self, steps: list[tuple[ctypes.c_void_p, np.ndarray]]) -> list[np.ndarray]:
        """The logits of each step's last token."""
        logits = [np.empty(self.vocab, np.float32) for _ in steps]
        given = (Step * len(steps))()
        for step, (sequence, tokens), row in zip(given, steps, logits):
            step.sequence, step.tokens, step.count, step.outputs = sequence, tokens.ctypes.data_as(I32), len(tokens), 1
            step.logits = row.ctypes.data_as(F32)
        self.check(self.api.quant_forward_steps(self.handle, given, ctypes.c_int64(len(steps))))
        return logits


class Sequences(unittest.TestCase):
    binaries: Path
    library: ctypes.CDLL

    def compare(self, module: Path, weights: Path, isa: str) -> None:
        seed = random.randrange(1 << 30)
        draw, numbers = random.Random(seed), np.random.default_rng(seed)
        with Session(self.library, module, weights, isa=isa.encode(), cache=8192) as session:
            # Prompts of one call and of several, then steps of 1 to 4 tokens, as answers and speculation have them.
            works = []
            for length in (1, 3, 7, 40, 130, 300):
                sizes = [length, *(draw.choice((1, 1, 1, 2, 3, 4)) for _ in range(8))]
                works.append([numbers.integers(0, session.vocab, size, dtype=np.int32) for size in sizes])
            alone = []
            for work in works:
                sequence = session.sequence()
                alone.append([session.forward([(sequence, tokens)])[0] for tokens in work])
                session.free(sequence)
            sequences, together = [session.sequence() for _ in works], [[] for _ in works]
            while any(len(done) < len(work) for work, done in zip(works, together)):
                ready = [i for i, work in enumerate(works) if len(together[i]) < len(work)]
                chosen = draw.sample(ready, draw.randint(1, len(ready)))
                logits = session.forward([(sequences[i], works[i][len(together[i])]) for i in chosen])
                for i, row in zip(chosen, logits):
                    together[i].append(row)
            for sequence in sequences:
                session.free(sequence)
        for i, (want, got) in enumerate(zip(alone, together)):
            for step, (a, b) in enumerate(zip(want, got)):
                np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32), f"{isa}, seed {seed}, sequence {i}, step {step}")

    def test_neighbours_change_no_bit(self) -> None:
        fp8, int4 = ["--scheme=fp8-block", "--format=deepseek"], ["--scheme=w4a16", "--group-size=32"]
        for scheme, activations in ((None, "f32"), (None, "bf16"), (fp8, "f32"), (int4, "f32")):
            with tempfile.TemporaryDirectory() as folder:
                module, weights = Path(folder) / "tiny.qmod", Path(folder) / "weights" if scheme else CHECKPOINT
                if scheme:
                    quantize_it = [self.binaries / "quant-convert", "quantize", CHECKPOINT, *scheme, "-o", weights]
                    subprocess.run(quantize_it, check=True, capture_output=True, timeout=300)
                compile_it = [self.binaries / "quant-compile", weights, cpu_units(), f"--activations={activations}", "-o", module]
                subprocess.run(compile_it, check=True, capture_output=True, timeout=300)
                for isa in runnable_isas(module):
                    with self.subTest(scheme=scheme, activations=activations, isa=isa):
                        self.compare(module, weights, isa)

    def test_saved_sequence_goes_on(self) -> None:
        """In another session, in other pages, whatever the format of the cache."""
        for kv_cache in ("f32", "int4"):
            with self.subTest(kv_cache), tempfile.TemporaryDirectory() as folder:
                module, saved = Path(folder) / "tiny.qmod", Path(folder) / "saved.safetensors"
                compile_it = [self.binaries / "quant-compile", CHECKPOINT, "--host-isa=avx2", f"--kv-cache={kv_cache}", "-o", module]
                subprocess.run(compile_it, check=True, capture_output=True, timeout=300)
                tokens = np.arange(100, dtype=np.int32)
                with Session(self.library, module) as session:
                    sequence = session.sequence()
                    session.forward([(sequence, tokens)])
                    session.save(sequence, saved)
                    want = session.forward([(sequence, tokens[:1])])[0]
                    session.free(sequence)
                with Session(self.library, module, cache=4096) as session:
                    busy = session.sequence()
                    session.forward([(busy, tokens[:70])])
                    sequence = session.restore(saved)
                    got = session.forward([(sequence, tokens[:1])])[0]
                    session.free(sequence)
                    session.free(busy)
                np.testing.assert_array_equal(want.view(np.uint32), got.view(np.uint32))

    def test_bench_measures(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            module = Path(folder) / "tiny.qmod"
            compile_it = [self.binaries / "quant-compile", CHECKPOINT, "--host-isa=avx2", "-o", module]
            subprocess.run(compile_it, check=True, capture_output=True, timeout=300)
            bench = [self.binaries / "quant-bench", "batch", module, "--weights", CHECKPOINT, "--json", "--sequences=1,3", "--prompt=5"]
            done = subprocess.run([*bench, "--steps=2", "--rounds=1"], check=True, capture_output=True, text=True, timeout=300)
            rows = json.loads(done.stdout)
        self.assertEqual([row["sequences"] for row in rows], [1, 3])
        self.assertTrue(all(row["tokens_per_s"] > 0 and row["prompt_tokens_per_s"] > 0 for row in rows), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, help="the build's bin directory")
    parser.add_argument("--library", type=Path, required=True, help="the runtime's shared library")
    arguments, rest = parser.parse_known_args()
    Sequences.binaries, Sequences.library = arguments.bin.resolve(), ctypes.CDLL(str(arguments.library.resolve()))
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
