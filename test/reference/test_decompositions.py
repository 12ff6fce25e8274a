#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the definitions that `quant-opt --deepseek-decompose` writes, with upstream's lowering and mlir-runner, against NumPy.

test_decompositions.py --bin BIN [--llvm-bin /usr/lib/llvm-22/bin]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

from deepseek import Gate, rms_norm, rotate, silu, softmax
from kv_cache import BYTES, FORMATS, decode, encode

BIN, LLVM_BIN = Path(), Path()

LOWER = (
    "builtin.module(one-shot-bufferize{bufferize-function-boundaries=true allow-return-allocs-from-loops=true},"
    "convert-linalg-to-loops,convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-libm,convert-math-to-llvm,"
    "arith-expand,convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)"
)


def dense(values: np.ndarray) -> str:
    """An arith.constant's value: the bits of every element, exactly."""
    kind = {"float32": "f32", "int32": "i32"}[str(values.dtype)]
    shape = "x".join(map(str, values.shape)) + "x" + kind
    if kind == "i32":
        return f"dense<{values.tolist()}> : tensor<{shape}>"
    return f'dense<"0x{values.tobytes().hex().upper()}"> : tensor<{shape}>'


class Program:
    """A main function that computes and prints. Values of dynamic shape come from constants through a cast."""

    def __init__(self) -> None:
        self.globals: list[str] = []
        self.lines: list[str] = []

    def constant(self, name: str, values: np.ndarray, dynamic: bool = False) -> None:
        text = dense(values)
        kind = text.rsplit(" : ", 1)[1]
        if not dynamic:
            self.lines.append(f"%{name} = arith.constant {text}")
            return
        loose = re.sub(r"<\d+", "<?", kind, count=1)
        self.lines += [f"%{name}_fixed = arith.constant {text}", f"%{name} = tensor.cast %{name}_fixed : {kind} to {loose}"]

    def add(self, *lines: str) -> None:
        self.lines += lines

    def show(self, name: str, kind: str) -> None:
        element = "I32" if kind.endswith("i32>") else "F32"
        loose = f"tensor<*x{element.lower()}>"
        self.add(f"%{name}_any = tensor.cast %{name} : {kind} to {loose}", f"func.call @printMemref{element}(%{name}_any) : ({loose}) -> ()")

    def run(self) -> list[np.ndarray]:
        text = "func.func private @printMemrefF32(tensor<*xf32>)\nfunc.func private @printMemrefI32(tensor<*xi32>)\n"
        text += "\n".join(self.globals) + "\nfunc.func @main() {\n  " + "\n  ".join(self.lines) + "\n  return\n}\n"

        def step(command: list[str | Path], given: str) -> str:
            result = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise AssertionError(f"{command}: {result.stderr[:1000]}")
            return result.stdout

        text = step([BIN / "quant-opt", "--deepseek-decompose", "-"], text)
        if "deepseek." in text or "qblock." in text:
            raise AssertionError("an op of ours is left")
        text = step([LLVM_BIN / "mlir-opt", f"--pass-pipeline={LOWER}"], text)
        libraries = [LLVM_BIN.parent / "lib" / f"libmlir_{name}.so" for name in ("runner_utils", "c_runner_utils")]
        shared = "--shared-libs=" + ",".join(map(str, libraries))
        out = step([LLVM_BIN / "mlir-runner", "--entry-point-result=void", shared], text)
        return [parse(part) for part in out.split("Unranked Memref")[1:]]


def parse(text: str) -> np.ndarray:
    """What printMemref prints: `... sizes = [2, 3] ... data =` and nested lists."""
    sizes = [int(size) for size in re.search(r"sizes = \[([\d, ]*)\]", text).group(1).split(",")]
    numbers = text.split("data =", 1)[1].replace("[", " ").replace("]", " ").replace(",", " ").split()
    return np.array([float(number) for number in numbers]).reshape(sizes)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


class Decompositions(unittest.TestCase):
    def setUp(self) -> None:
        seed = int(np.random.SeedSequence().entropy % 2**32)
        self.rng = np.random.default_rng(seed)
        self.message = f"seed {seed}"

    def close(self, got: np.ndarray, want: np.ndarray, tolerance: float = 2e-5) -> None:
        # printMemref prints six digits.
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1e-30, np.abs(want).max()), err_msg=self.message)

    def test_embed(self) -> None:
        p, table, ids = Program(), normal(self.rng, 7, 5), self.rng.integers(0, 7, 4).astype(np.int32)
        p.constant("table", table)
        p.constant("ids", ids, dynamic=True)
        p.add("%y = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<7x5xf32>) -> tensor<?x5xf32>")
        p.show("y", "tensor<?x5xf32>")
        self.close(p.run()[0], table[ids])

    def test_rms_norm_swiglu_select_tokens(self) -> None:
        p, x, gamma, up = Program(), normal(self.rng, 3, 40), normal(self.rng, 40), normal(self.rng, 3, 40)
        p.constant("x", x, dynamic=True)
        p.constant("up", up, dynamic=True)
        p.constant("gamma", gamma)
        p.constant("selected", np.array([2, 0], np.int32), dynamic=True)
        kind = "tensor<?x40xf32>"
        p.add(
            f"%y = deepseek.rms_norm %x, %gamma {{eps = 1.0e-2}} : ({kind}, tensor<40xf32>) -> {kind}",
            f"%h = deepseek.swiglu %x, %up : ({kind}, {kind}) -> {kind}",
            f"%l = deepseek.select_tokens %x, %selected : ({kind}, tensor<?xi32>) -> {kind}",
        )
        for name in "yhl":
            p.show(name, kind)
        y, h, last = p.run()
        self.close(y, rms_norm(x.astype(float), gamma.astype(float), 1e-2))
        self.close(h, silu(x.astype(float)) * up)
        self.close(last, x[[2, 0]])

    def attention(self, interleaved: bool, kv_cache: str = "f32", first: int = 0) -> None:
        """Three tokens of two sequences: one in the middle of a page, two at the end of one page and the start of the next."""
        heads, nope, rope, value, latent = 3, 6, 4, 5, 37 if kv_cache in BYTES else 8
        positions, sequences, pages = (np.array(v, np.int32) for v in ([3, 63, 64], [0, 1, 1], [[1, 9], [2, 0]]))
        tokens, page_rows, cache_rows = len(positions), 64, 3 * 64
        row = lambda t, s: pages[sequences[t], s // page_rows] * page_rows + s % page_rows  # noqa: E731
        rng, p = self.rng, Program()
        frequencies, factor = np.array([1.0, 0.3]), 1.25
        q, kv, gamma = normal(rng, tokens, heads * (nope + rope)), normal(rng, tokens, latent + rope), normal(rng, latent)
        kv_b, past = normal(rng, heads * (nope + value), latent), normal(rng, cache_rows, latent + rope)
        for name, values in (("q", q), ("kv", kv), ("positions", positions), ("sequences", sequences), ("pages", pages)):
            p.constant(name, values, dynamic=True)
        for name, values in (("gamma", gamma), ("kv_b", kv_b)):
            p.constant(name, values)
        sizes = f"heads = {heads}, nope_dim = {nope}, rope_dim = {rope}, v_dim = {value}"
        pairs = f"interleaved = {str(interleaved).lower()}"
        rows = lambda columns: f"tensor<?x{columns}xf32>"  # noqa: E731
        stored = encode(kv_cache, past[:, :latent], past[:, latent:])
        element, columns = "i8" if kv_cache in BYTES else kv_cache, stored.shape[1]
        cache, fixed = (f"memref<{size}x{columns}x{element}>" for size in ("?", cache_rows))
        cache_format = f", cache_format = #deepseek.cache<{kv_cache}>" if kv_cache in BYTES else ""
        begins = f", first_position = {first}" if first else ""
        placed, table_type = "%cache[%positions, %sequences, %pages]", "tensor<?x2xi32>"
        p.globals.append(f'memref.global "private" constant @past : {fixed} = dense<"0x{stored.tobytes().hex().upper()}">')
        p.add(
            f"%rope = deepseek.rope_table %positions {{inv_freq = array<f64: 1.0, 0.3>, factor = {factor}}} : {rows(rope)}",
            f"%fixed = memref.get_global @past : {fixed}",
            f"%own = memref.alloc() : {fixed}",
            f"memref.copy %fixed, %own : {fixed} to {fixed}",
            f"%cache = memref.cast %own : {fixed} to {cache}",
            f"deepseek.latent_append %kv, %gamma, %rope, {placed} {{eps = 1.0e-6, {pairs}{cache_format}}} : {rows(latent + rope)}, tensor<{latent}xf32>, {rows(rope)}, {cache}, {table_type}",
            f"%lat = deepseek.mla_absorb %q, %kv_b {{{sizes}}} : ({rows(q.shape[1])}, tensor<{kv_b.shape[0]}x{latent}xf32>) -> {rows(heads * latent)}",
            f"%core = deepseek.mla_core %lat, %q, %rope, {placed} {{{sizes}, softmax_scale = 0.25, {pairs}{cache_format}{begins}}} : ({rows(heads * latent)}, {rows(q.shape[1])}, {rows(rope)}, {cache}, {table_type}) -> {rows(heads * latent)}",
            f"%o = deepseek.mla_expand %core, %kv_b {{{sizes}}} : ({rows(heads * latent)}, tensor<{kv_b.shape[0]}x{latent}xf32>) -> {rows(heads * value)}",
        )
        shown = ["o"]
        if kv_cache not in BYTES and first == 0:
            # The same attention of complete queries.
            p.add(
                f"%complete = deepseek.mla_absorb %q, %kv_b rope %rope {{{sizes}{', interleaved' if interleaved else ''}}} : ({rows(q.shape[1])}, tensor<{kv_b.shape[0]}x{latent}xf32>, {rows(rope)}) -> {rows(heads * (latent + rope))}",
                f"%decoded = deepseek.mla_decode %complete, {placed} {{heads = {heads}, rope_dim = {rope}, softmax_scale = 0.25}} : ({rows(heads * (latent + rope))}, {cache}, {table_type}) -> {rows(heads * latent)}",
                f"%also = deepseek.mla_expand %decoded, %kv_b {{{sizes}}} : ({rows(heads * latent)}, tensor<{kv_b.shape[0]}x{latent}xf32>) -> {rows(heads * value)}",
            )
            shown.append("also")
        p.show("rope", rows(rope))
        for name in shown:
            p.show(name, rows(heads * value))
        table, *outputs = p.run()
        angles = positions[:, None] * frequencies
        self.close(table, factor * np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
        turn = (positions, frequencies, factor, interleaved)
        new_latent = rms_norm(kv[:, :latent].astype(float), gamma.astype(float), 1e-6)
        written = encode(kv_cache, new_latent, rotate(kv[:, latent:].astype(float), *turn))
        for t in range(tokens):
            stored[row(t, positions[t])] = written[t]
        all_cached = np.concatenate(decode(kv_cache, stored, latent, rope), axis=1)
        query = q.astype(float).reshape(tokens, heads, nope + rope)
        turned = rotate(query[..., nope:], *turn)
        want = []
        for t in range(tokens):
            cached = all_cached[[row(t, s) for s in range(first, positions[t] + 1)]]
            keys = np.einsum("hnr,sr->shn", kv_b.astype(float).reshape(heads, nope + value, latent), cached[:, :latent])
            scores = np.einsum("hn,shn->hs", query[t, :, :nope], keys[..., :nope])
            scores += np.einsum("hp,sp->hs", turned[t], cached[:, latent:])
            want.append(np.einsum("hs,shv->hv", softmax(scores * 0.25), keys[..., nope:]).reshape(-1))
        for out in outputs:
            self.close(out, np.stack(want))

    def test_attention_interleaved(self) -> None:
        self.attention(True)

    def test_attention_halves(self) -> None:
        self.attention(False)

    def test_attention_from_a_first_position(self) -> None:
        self.attention(True, first=1)

    def test_attention_with_other_caches(self) -> None:
        for kv_cache in FORMATS[1:]:
            with self.subTest(kv_cache):
                self.attention(True, kv_cache)

    def gate(self, gate: Gate, with_bias: bool, ties: bool = False) -> None:
        tokens, experts, k = 5, 16, gate.experts_per_token
        logits, bias = normal(self.rng, tokens, experts), normal(self.rng, experts)
        if ties:
            logits[:] = 0.5
        p = Program()
        p.constant("logits", logits, dynamic=True)
        p.constant("bias", bias)
        operands, types = ("%logits, %bias", f"tensor<?x{experts}xf32>, tensor<{experts}xf32>") if with_bias else ("%logits", f"tensor<?x{experts}xf32>")
        p.add(
            f"%ids, %weights = deepseek.moe_gate {operands} {{top_k = {k}, groups = {gate.groups}, limited_groups = {gate.groups_per_token}, "
            f"score_func = {int(gate.sigmoid)} : i32, group_score = {int(with_bias)} : i32, normalize = {str(gate.normalise).lower()}, "
            f"route_scale = {gate.scale}}} : ({types}) -> (tensor<?x{k}xi32>, tensor<?x{k}xf32>)"
        )
        p.show("ids", f"tensor<?x{k}xi32>")
        p.show("weights", f"tensor<?x{k}xf32>")
        ids, weights = p.run()
        want_ids, want_weights, _ = gate(logits.astype(float), bias.astype(float) if with_bias else None)
        np.testing.assert_array_equal(ids, want_ids, self.message)
        self.close(weights, want_weights)

    def test_gate_sigmoid_bias_groups(self) -> None:
        self.gate(Gate(4, 4, 2, True, True, 2.5), True)

    def test_gate_softmax_groups(self) -> None:
        self.gate(Gate(3, 8, 3, False, False, 16.0), False)

    def test_gate_without_groups(self) -> None:
        self.gate(Gate(6, 1, 1, False, False, 1.0), False)

    def test_gate_takes_the_lower_index_where_equal(self) -> None:
        self.gate(Gate(3, 4, 2, True, True, 1.0), False, ties=True)

    def test_dispatch_and_combine(self) -> None:
        tokens, k, experts, columns = 5, 3, 6, 4
        ids = np.array([self.rng.permutation(experts)[:k] for _ in range(tokens)], np.int32)
        x, weights = normal(self.rng, tokens, k, columns), normal(self.rng, tokens, k)
        p = Program()
        for name, values in (("ids", ids), ("x", x), ("weights", weights)):
            p.constant(name, values, dynamic=True)
        pairs = f"tensor<?x{k}xi32>"
        p.add(
            f"%offsets, %rows = deepseek.moe_dispatch %ids : ({pairs}) -> (tensor<{experts + 1}xi32>, {pairs})",
            f"%y = deepseek.moe_combine %x, %ids, %weights, %offsets, %rows : (tensor<?x{k}x{columns}xf32>, {pairs}, tensor<?x{k}xf32>, "
            f"tensor<{experts + 1}xi32>, {pairs}) -> tensor<?x{columns}xf32>",
        )
        p.show("offsets", f"tensor<{experts + 1}xi32>")
        p.show("rows", pairs)
        p.show("y", f"tensor<?x{columns}xf32>")
        offsets, rows, y = p.run()
        order = np.argsort(ids.reshape(-1), kind="stable")
        np.testing.assert_array_equal(offsets, np.searchsorted(np.sort(ids.reshape(-1)), np.arange(experts + 1)), self.message)
        np.testing.assert_array_equal(rows.reshape(-1), order, self.message)
        places = np.argsort(order)
        self.close(y, np.einsum("tj,tjc->tc", weights.astype(float), x.reshape(-1, columns).astype(float)[places].reshape(x.shape)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="where quant-opt is")
    parser.add_argument("--llvm-bin", type=Path, default=Path("/usr/lib/llvm-22/bin"), help="where mlir-opt and mlir-runner are")
    arguments, rest = parser.parse_known_args()
    BIN, LLVM_BIN = arguments.bin, arguments.llvm_bin
    unittest.main(argv=[sys.argv[0], *rest])
