#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Guesses of models/tiny's MTP layer: their logits against PyTorch's, and what speculative decoding makes of them.

    python3 test/e2e/test_mtp.py --bin build/bin --library build/runtime/api/libquant_runtime.so [unittest arguments]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

from compare import relative_error  # puts test/reference on the path
from checkpoint import SafetensorsFile
from test_sequences import F32, Session
from tiny import CHECKPOINT


class Guess(ctypes.Structure):
    _fields_ = [("sequence", ctypes.c_void_p), ("token", ctypes.c_int32), ("logits", F32)]


def nucleus(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The probabilities that the sampler draws by."""
    weights = np.exp((logits.astype(float) - logits.max()) / temperature)
    order = np.argsort(-weights, kind="stable")
    kept = order[: np.searchsorted(np.cumsum(weights[order]), top_p * weights.sum()) + 1]
    result = np.zeros(len(logits))
    result[kept] = weights[kept] / weights[kept].sum()
    return result


class GuessingSession(Session):
    def __init__(self, library: ctypes.CDLL, module: Path, **options: object) -> None:
        super().__init__(library, module, mtp=1, **options)

    def guess(self, steps: list[tuple[ctypes.c_void_p, int]]) -> list[np.ndarray]:
        """For each sequence the logits behind its next token."""
        logits = [np.empty(self.vocab, np.float32) for _ in steps]
        given = (Guess * len(steps))()
        for step, (sequence, token), row in zip(given, steps, logits):
            step.sequence, step.token, step.logits = sequence, int(token), row.ctypes.data_as(F32)
        self.check(self.api.quant_guess_steps(self.handle, given, ctypes.c_int64(len(steps))))
        return logits

    def reset(self, sequence: ctypes.c_void_p, position: int) -> None:
        self.check(self.api.quant_sequence_reset(sequence, ctypes.c_int64(position)))

    def fork(self, sequence: ctypes.c_void_p) -> ctypes.c_void_p:
        forked = ctypes.c_void_p()
        self.check(self.api.quant_sequence_fork(sequence, ctypes.byref(forked)))
        return forked

    def reuse(self, sequence: ctypes.c_void_p, tokens: np.ndarray) -> int:
        reused = ctypes.c_int64()
        data = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        self.check(self.api.quant_sequence_reuse(sequence, data, ctypes.c_int64(len(tokens)), ctypes.byref(reused)))
        return reused.value


class Mtp(unittest.TestCase):
    binaries: Path
    library: ctypes.CDLL

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.module = cls.compile("mtp.qmod", "--mtp", "--kv-cache=f32")
        golden = SafetensorsFile(CHECKPOINT / "golden.safetensors")
        cls.tokens = golden.raw("tokens").astype(np.int32)
        cls.wanted = golden.values("mtp_logits")  # row i: for token i + 2
        cls.text = np.array([0, *json.loads((CHECKPOINT / "eval.tokens.json").read_text())["tokens"]], np.int32)

    @classmethod
    def compile(cls, name: str, *options: str) -> Path:
        module = Path(cls.folder.name) / name
        compile_it = [cls.binaries / "quant-compile", CHECKPOINT, "--target=host", "--host-isa=avx2", *options, "-o", module]
        subprocess.run(compile_it, check=True, capture_output=True, timeout=300)
        return module

    def run_tokens(self, module: Path, prompt: np.ndarray, count: int, *options: str) -> dict[str, object]:
        run = [self.binaries / "quant-run", module, "--weights", CHECKPOINT, "--tokens", ",".join(map(str, prompt)), "--json",
               f"--max-new-tokens={count}", "--ignore-eos", *options]  # fmt: skip
        return json.loads(subprocess.run(run, check=True, capture_output=True, text=True, timeout=300).stdout)

    def assert_same_bits(self, a: np.ndarray, b: np.ndarray, message: str = "") -> None:
        np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32), message)

    def test_logits_are_those_of_pytorch(self) -> None:
        """Token by token, and behind prompts, which are computed in chunks."""
        with GuessingSession(self.library, self.module, max_chunk=16) as session:
            sequence = session.sequence()
            for i, want in enumerate(self.wanted):
                session.forward([(sequence, self.tokens[i : i + 1])])
                self.assertLess(relative_error(session.guess([(sequence, self.tokens[i + 1])])[0], want), 2e-5, f"token {i}")
            session.free(sequence)
            for i in (0, 1, 3, 4, 5, 15, 16, 17, 18, 33, 47, 62):
                sequence = session.sequence()
                session.forward([(sequence, self.tokens[: i + 1])])
                error = relative_error(session.guess([(sequence, self.tokens[i + 1])])[0], self.wanted[i])
                self.assertLess(error, 2e-5, f"prompt of {i + 1}")
                session.free(sequence)

    def test_acceptance_is_that_of_the_readme(self) -> None:
        """Over text 69.7 %, by sampling 76.4 %; in greedy decoding from 32 prompts 1769 of 2310."""
        hits = total = 0
        shares = []
        with GuessingSession(self.library, self.module, max_chunk=256) as session:
            for start in range(0, 60000, 7500):
                piece, sequence = self.text[start + 1 : start + 256], session.sequence()
                session.forward([(sequence, np.array([0], np.int32))])
                for token in piece[:-1]:
                    guess = session.guess([(sequence, token)])[0]
                    own = session.forward([(sequence, np.array([token], np.int32))])[0]
                    hits, total = hits + int(guess.argmax() == own.argmax()), total + 1
                    shares.append(np.minimum(nucleus(guess, 1, 1), nucleus(own, 1, 1)).sum())
                session.free(sequence)
        self.assertAlmostEqual(hits / total, 0.697, delta=0.02)
        self.assertAlmostEqual(np.mean(shares), 0.764, delta=0.02)
        right = guesses = 0
        for start in np.linspace(0, len(self.text) - 1 - 64, 32).astype(int)[::5]:
            prompt = np.array([0, *self.text[start + 1 : start + 64]], np.int32)
            plain, guessed = self.run_tokens(self.module, prompt, 128), self.run_tokens(self.module, prompt, 128, "--mtp")
            self.assertEqual(plain["tokens"], guessed["tokens"])
            right, guesses = right + guessed["mtp"]["right"], guesses + guessed["mtp"]["guesses"]
        self.assertAlmostEqual(right / guesses, 0.766, delta=0.08)  # every fifth prompt

    def test_greedy_tokens_stay(self) -> None:
        """Whatever the KV cache and the inputs of matmuls, up to the end of the context; prompts of one token, too."""
        seed = random.randrange(1 << 30)
        draw = random.Random(seed)
        for name, options in (("short", ["--kv-cache=int8", "--max-context=150"]), ("bf16", ["--activations=bf16", "--kv-cache=bf16"])):
            module = self.compile(f"{name}.qmod", "--mtp", *options)
            for length, count in ((1, 40), (draw.randint(60, 66), 70), (100, 51)):
                start = draw.randrange(len(self.text) - length)
                prompt = self.text[start : start + length]
                plain = self.run_tokens(module, prompt, count)
                for context in ([], [f"--context={length + count - 1}"]):
                    guessed = self.run_tokens(module, prompt, count, "--mtp", *context)
                    self.assertEqual(plain["tokens"], guessed["tokens"], f"{name}, seed {seed}, {length} tokens")
                    self.assertGreater(guessed["mtp"]["guesses"], 0)

    def test_sampled_tokens_keep_their_distribution(self) -> None:
        """One position, many draws: the guess is of the MTP layer's distribution, the token of the model's."""
        prompt = self.text[:64]
        with GuessingSession(self.library, self.module) as session:
            sequence = session.sequence()
            session.forward([(sequence, prompt)])
            guess_logits = session.guess([(sequence, self.text[64])])[0]
            logits = session.forward([(sequence, self.text[64:65])])[0]
            session.free(sequence)
        count, sampler = 20000, self.sampler(0.8, 0.9)
        pairs = np.array([self.draw(sampler, guess_logits, logits) for _ in range(count)])
        self.library.quant_sampler_free(sampler)
        wanted, guessed = nucleus(logits, 0.8, 0.9), nucleus(guess_logits, 0.8, 0.9)
        for drawn, probabilities in ((pairs[:, 0], guessed), (pairs[:, 1], wanted)):
            counts = np.bincount(drawn, minlength=len(logits))
            self.assertEqual(counts[probabilities == 0].sum(), 0)
            expected = count * probabilities
            often = expected >= 5
            statistic = np.sum((counts[often] - expected[often]) ** 2 / expected[often])
            freedom = often.sum()
            self.assertLess(statistic, freedom + 6 * np.sqrt(2 * freedom))
        accepted = np.minimum(wanted, guessed).sum()
        self.assertAlmostEqual(np.mean(pairs[:, 0] == pairs[:, 1]), accepted, delta=0.02)

    def sampler(self, temperature: float, top_p: float) -> ctypes.c_void_p:
        created = ctypes.c_void_p()
        create = self.library.quant_sampler_create
        create.argtypes = [ctypes.c_double, ctypes.c_double, ctypes.c_uint64, ctypes.c_void_p]
        self.assertEqual(create(temperature, top_p, random.randrange(1 << 62), ctypes.byref(created)), 0)
        return created

    def draw(self, sampler: ctypes.c_void_p, guess_logits: np.ndarray, logits: np.ndarray) -> tuple[int, int]:
        """A guess, and the token that comes of it."""
        guess, token, vocab = ctypes.c_int32(), ctypes.c_int32(), ctypes.c_int64(len(logits))
        a, b = guess_logits.ctypes.data_as(F32), logits.ctypes.data_as(F32)
        self.assertEqual(self.library.quant_sample(sampler, a, vocab, ctypes.byref(guess)), 0)
        self.assertEqual(self.library.quant_sample_guessed(sampler, b, a, vocab, guess, ctypes.byref(token)), 0)
        return guess.value, token.value

    def test_neighbours_change_no_bit(self) -> None:
        """Guesses, tokens, wrong guesses that are taken back, forks: each sequence computes what it would alone."""
        seed = random.randrange(1 << 30)
        draw, numbers = random.Random(seed), np.random.default_rng(seed)
        works = []
        for length in (1, 30, 63, 64, 65, 129, 200):
            moves = [("forward", numbers.integers(0, 1536, length, dtype=np.int32))]
            for _ in range(12):
                token, size = int(numbers.integers(0, 1536)), draw.choice((1, 2, 2, 3, 6))
                tokens = numbers.integers(0, 1536, size, dtype=np.int32)
                if draw.random() < 0.8:
                    moves.append(("guess", token))
                    tokens[0] = draw.choice((token, token, tokens[0]))
                moves.append(("forward", tokens))
                if draw.random() < 0.4:
                    moves.append(("reset", draw.randint(1, size)))
            works.append([*moves, ("guess", 7)])

        def do(session: GuessingSession, sequence: ctypes.c_void_p, move: tuple[str, object]) -> np.ndarray:
            kind, value = move
            if kind == "reset":
                session.api.quant_sequence_position.restype = ctypes.c_int64
                session.reset(sequence, session.api.quant_sequence_position(sequence) - value)
                return np.zeros(0, np.float32)
            return session.guess([(sequence, value)])[0] if kind == "guess" else session.forward([(sequence, value)])[0]

        with GuessingSession(self.library, self.module, cache=8192) as session:
            alone = []
            for work in works:
                sequence = session.sequence()
                alone.append([do(session, sequence, move) for move in work])
                session.free(sequence)
            sequences, done = [session.sequence() for _ in works], [0] * len(works)
            while any(at < len(work) for at, work in zip(done, works)):
                ready = [i for i, work in enumerate(works) if done[i] < len(work)]
                kind = works[draw.choice(ready)][0][0] if not ready else draw.choice([works[i][done[i]][0] for i in ready])
                chosen = [i for i in ready if works[i][done[i]][0] == kind and draw.random() < 0.7]
                if not chosen:
                    continue
                moves = [(sequences[i], works[i][done[i]][1]) for i in chosen]
                if kind == "reset":
                    results = [do(session, sequences[i], works[i][done[i]]) for i in chosen]
                else:
                    results = session.guess(moves) if kind == "guess" else session.forward(moves)
                for i, result in zip(chosen, results):
                    self.assert_same_bits(alone[i][done[i]], result, f"seed {seed}, sequence {i}, move {done[i]}")
                    done[i] += 1
                    if draw.random() < 0.2:  # another one with the same pages, which goes its own way
                        other = session.fork(sequences[i])
                        session.guess([(other, 3)])
                        session.forward([(other, np.array([3, 4, 5], np.int32))])
                        session.guess([(other, 6)])
                        session.free(other)
            for sequence in sequences:
                session.free(sequence)

    def test_known_pages_bring_their_keys(self) -> None:
        """A sequence that finds another's pages guesses as that does, but for the one state that is not kept with them."""
        tokens = self.text[:200]
        with GuessingSession(self.library, self.module, cache=2048) as session:
            first, second = session.sequence(), session.sequence()
            session.forward([(first, tokens)])
            self.assertEqual(session.reuse(second, tokens), 192)
            session.forward([(second, tokens[192:])])
            want, got = session.guess([(first, 5), (second, 5)])
            self.assertLess(relative_error(got, want), 0.1)
            self.assertGreater(relative_error(got, want), 0)
            session.reset(first, 100)
            session.forward([(first, tokens[100:])])
            again = session.guess([(first, 5)])[0]
            self.assertLess(relative_error(again, want), 0.1)

    def test_saved_sequence_goes_on(self) -> None:
        saved = Path(self.folder.name) / "saved.safetensors"
        for length in (1, 64, 99):
            with GuessingSession(self.library, self.module) as session:
                sequence = session.sequence()
                session.forward([(sequence, self.text[:length])])
                session.forward([(sequence, self.text[length : length + 2])])
                session.save(sequence, saved)
                want = session.guess([(sequence, 9)])[0]
                session.free(sequence)
            with GuessingSession(self.library, self.module) as session:
                sequence = session.restore(saved)
                self.assert_same_bits(want, session.guess([(sequence, 9)])[0])
                session.free(sequence)
        with Session(self.library, self.module) as session:
            session.free(session.restore(saved))  # without guesses it is a sequence like any other

    def test_errors_say_what_to_do(self) -> None:
        plain = self.compile("plain.qmod")
        for arguments in (["quant-run", plain, "--tokens=1"], ["quant-serve", plain]):
            run = [self.binaries / arguments[0], *arguments[1:], "--weights", CHECKPOINT, "--mtp"]
            done = subprocess.run(run, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn("has no MTP layer to guess with; compile it with --mtp", done.stderr)
        config = json.loads((CHECKPOINT / "config.json").read_text())
        (path := Path(self.folder.name) / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 0}))
        done = subprocess.run([self.binaries / "quant-compile", path, "--mtp", "-o", path.with_suffix(".qmod")],
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("--mtp compiles the model's MTP layer, and it has none (num_nextn_predict_layers is 0)", done.stderr)
        with Session(self.library, self.module) as session:
            sequence = session.sequence()
            session.forward([(sequence, self.text[:3])])
            with self.assertRaisesRegex(RuntimeError, "created without quant_session_options.mtp"):
                GuessingSession.guess(session, [(sequence, 1)])
            session.free(sequence)
        with GuessingSession(self.library, self.module, context=64) as session:
            sequence = session.sequence()
            with self.assertRaisesRegex(RuntimeError, "step 0: a guess needs at least one token in the sequence"):
                session.guess([(sequence, 1)])
            session.forward([(sequence, self.text[:64])])
            with self.assertRaisesRegex(RuntimeError, "step 0: 1 tokens at position 64 overflow the context of 64 rows"):
                session.guess([(sequence, 1)])
            session.reset(sequence, 63)
            with self.assertRaisesRegex(RuntimeError, "step 0: token 0 is id 1536, the vocabulary has 0 to 1535"):
                session.guess([(sequence, 1536)])
            session.free(sequence)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, help="the build's bin directory")
    parser.add_argument("--library", type=Path, required=True, help="the runtime's shared library")
    arguments, rest = parser.parse_known_args()
    Mtp.binaries, Mtp.library = arguments.bin.resolve(), ctypes.CDLL(str(arguments.library.resolve()))
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
