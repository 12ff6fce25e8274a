#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The launcher of run.py with the simulator as its GPU, in NumPy: every recipe can be followed and gives the right numbers.

    python3 test/gpu/test_harness.py --quant-compile build/bin/quant-compile --cuda FOLDER_OF_THE_SIMULATED_LIBCUDA

Needs no torch. run.py itself, which does, is tried by test/gpu/run-simulated.sh.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from driver import LAUNCH_ATTRIBUTE_CLUSTER, LAUNCH_ATTRIBUTE_PROGRAMMATIC, Driver, DriverError, NoGpu  # noqa: E402
from late import LateCopy  # noqa: E402
from recipe import Kernel, evaluate  # noqa: E402
from simulated import copy_kernel  # noqa: E402
from test_supervisor import Supervisor  # noqa: E402, F401 - it runs with these

NUMPY = {"f8E4M3FN": np.uint8, "i8": np.int8, "bf16": np.uint16, "f32": np.float32, "i32": np.int32}


def decode_e4m3() -> np.ndarray:
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    value = np.where(exponent > 0, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, -6))
    value[(bits & 127) == 127] = np.nan
    return np.where(bits & 128, -value, value)


E4M3 = decode_e4m3()


def to_bf16(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


class Context:
    """Set by main()."""

    quant_compile = Path()
    driver: Driver
    folder = Path()


class Memory:
    """The operands of one launch as NumPy arrays in registered memory, with a guard behind each."""

    GUARD = 256

    def __init__(self, kernel: Kernel, m: int) -> None:
        self.kernel, self.m = kernel, m
        self.operands = {operand.name: operand for operand in kernel.operands(m)}
        self.bytes = {}
        for name, operand in self.operands.items():
            fill = 0 if operand.zeroed else 0xFF if operand.access != "read" else 0x7F
            raw = np.full(operand.bytes + self.GUARD + 256, fill, np.uint8)
            # TMA wants 16-byte alignment, an allocation has 256.
            start = -raw.ctypes.data % 256
            self.bytes[name] = raw[start : start + operand.bytes + self.GUARD]
            kernel.driver.register(self.bytes[name].ctypes.data, self.bytes[name].nbytes, operand.early)

    def close(self) -> None:
        for data in self.bytes.values():
            self.kernel.driver.unregister(data.ctypes.data)

    def put(self, name: str, values: np.ndarray) -> None:
        operand = self.operands[name]
        rows = self.bytes[name][: operand.bytes].reshape(operand.rows, operand.pitch)
        rows[:, : operand.row_bytes] = np.ascontiguousarray(values).view(np.uint8).reshape(operand.rows, operand.row_bytes)

    def get(self, name: str) -> np.ndarray:
        operand = self.operands[name]
        rows = self.bytes[name][: operand.bytes].reshape(operand.rows, operand.pitch)[:, : operand.row_bytes]
        return np.ascontiguousarray(rows).view(NUMPY[operand.dtype]).reshape(operand.shape)

    def launch(self) -> None:
        arguments = self.kernel.prepare([data.ctypes.data for data in self.bytes.values()], self.m)
        self.kernel.launch(arguments, self.m)
        self.kernel.driver.synchronize()

    def launch_late(self) -> None:
        """Programmatically, behind a kernel that writes late what is not early."""
        late = {name: data for name, data in self.bytes.items() if not self.operands[name].early}
        copies = {name: data.copy() for name, data in late.items()}
        table = np.array(
            [[late[name].ctypes.data, copies[name].ctypes.data, self.operands[name].bytes // 4] for name in late], np.int64
        )
        for data in (*copies.values(), table):
            self.kernel.driver.register(data.ctypes.data, data.nbytes)
        for name, data in late.items():
            data[: self.operands[name].bytes] = 0xFF
        LateCopy(self.kernel.driver).launch(table.ctypes.data, len(table), 0)
        arguments = self.kernel.prepare([data.ctypes.data for data in self.bytes.values()], self.m)
        self.kernel.launch(arguments, self.m, programmatic=True)
        self.kernel.driver.synchronize()
        for data in (*copies.values(), table):
            self.kernel.driver.unregister(data.ctypes.data)

    def guards_intact(self) -> bool:
        return all((data[self.operands[name].bytes :] == data[-1]).all() and data[-1] in (0, 0x7F, 0xFF)
                   for name, data in self.bytes.items())  # fmt: skip


def spread(scales: np.ndarray, rows: int, columns: int, block: tuple[int, int]) -> np.ndarray:
    return scales.repeat(block[0], 0)[:rows].repeat(block[1], 1)[:, :columns]


class Launches(unittest.TestCase):
    def compile(self, *flags: str) -> list[Kernel]:
        """The kernels that quant-compile makes for these flags."""
        folder = Path(tempfile.mkdtemp(dir=Context.folder)) / "kernels"
        command = [Context.quant_compile, *flags, "-o", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        index = json.loads((folder / "kernels.json").read_text())
        names = dict.fromkeys(variant["launch"] for variant in index["variants"])
        return [Kernel(Context.driver, folder / name) for name in names]

    def gemm(self, kernel: Kernel, m: int, late: bool = False) -> Memory:
        """Launches on random inputs; what is in memory then."""
        random = np.random.default_rng(m)
        n, k = kernel.config["n"], kernel.config["k"]
        blocks = -(-k // 128)
        memory = Memory(kernel, m)
        self.addCleanup(memory.close)
        codes = random.integers(0, 0x70, (m + n, k), np.uint8) | random.integers(0, 2, (m + n, k), np.uint8) << 7
        a, b = codes[:m], codes[m:]
        by_token = np.exp2(random.uniform(-1, 1, (blocks, m))).astype(np.float32)
        by_block = np.exp2(random.uniform(-1, 1, (-(-n // 128), blocks))).astype(np.float32)
        padded = np.full((blocks, -(-m // 4) * 4), np.nan, np.float32)
        padded[:, :m] = by_token
        for name, values in (("a", a), ("b", b), ("scale_a", padded), ("scale_b", by_block)):
            memory.put(name, values)
        x, w = E4M3[a] * spread(by_token.T, m, k, (1, 128)), E4M3[b] * spread(by_block, n, k, (128, 128))
        self.expected, self.slack = x @ w.T, 0.01 * np.sqrt((x * x) @ (w * w).T)
        if "bias" in memory.operands:
            bias = random.normal(size=n).astype(np.float32) * 100
            memory.put("bias", bias)
            self.expected = self.expected + bias
        if memory.operands["d"].access == "readwrite":
            before = random.normal(size=(m, n)).astype(np.float32) * 100
            stored = before if memory.operands["d"].dtype == "f32" else to_bf16(before)
            memory.put("d", stored)
            self.expected = self.expected + (before if memory.operands["d"].dtype == "f32" else from_bf16(stored))
        memory.launch_late() if late else memory.launch()
        return memory

    def wrong(self, memory: Memory) -> float:
        """The largest error over its tolerance."""
        got = memory.get("d")
        if got.dtype == np.uint16:
            got = from_bf16(got)
        error = np.abs(got - self.expected) / (np.abs(self.expected) / 256 + self.slack + 1e-30)
        return float(np.nan_to_num(error, nan=np.inf).max())

    def check_gemm(self, m: int, *flags: str) -> None:
        for kernel in self.compile("--kernel=fp8_gemm", *flags):
            with self.subTest(kernel=kernel.name, m=m):
                memory = self.gemm(kernel, m)
                self.assertLessEqual(self.wrong(memory), 1)
                self.assertTrue(memory.guards_intact())
                self.assertEqual(Context.driver.findings(), "")

    def test_int8_and_bf16(self) -> None:
        """Scales of rows and columns, or none, and elements of two bytes, also behind a kernel that writes them late."""
        random, m, n, k = np.random.default_rng(3), 20, 136, 272
        for element in ("int8", "bf16"):
            (kernel,) = self.compile(f"--kernel={element}_gemm", f"--n={n}", f"--k={k}", "--tile=16x64,swap")
            for late in (False, True):
                memory = Memory(kernel, m)
                self.addCleanup(memory.close)
                if element == "int8":
                    x, w = random.integers(-128, 128, (m, k), np.int8), random.integers(-128, 128, (n, k), np.int8)
                    by_row, by_column = (np.exp2(random.uniform(-1, 1, count)).astype(np.float32) for count in (m, n))
                    inputs = {"a": x, "b": w, "scale_a": by_row, "scale_b": by_column}
                    self.expected = (x.astype(np.int64) @ w.T.astype(np.int64)) * np.outer(by_row.astype(np.float64), by_column)
                else:
                    x, w = to_bf16(random.normal(size=(m, k))), to_bf16(random.normal(size=(n, k)))
                    inputs = {"a": x, "b": w}
                    self.expected = from_bf16(x).astype(np.float64) @ from_bf16(w).T
                self.slack = 1e-6 * np.abs(self.expected) + (0 if element == "int8" else 1e-3)
                for name, values in inputs.items():
                    memory.put(name, values)
                memory.launch_late() if late else memory.launch()
                self.assertLessEqual(self.wrong(memory), 1, element)
                self.assertTrue(memory.guards_intact())
                self.assertEqual(Context.driver.findings(), "")

    def test_gemm(self) -> None:
        self.check_gemm(7, "--n=136", "--k=400", "--m=7")
        self.check_gemm(130, "--n=136", "--k=400", "--tile=128x128")

    def grouped(self, kernel: Kernel, m: int, counts: list[int], late: bool) -> None:
        """Launches groups of so many rows on random inputs, NaN where no group has any, and checks D, there and elsewhere."""
        random, masked = np.random.default_rng(m), "masked" in kernel.config
        groups, n, k = (kernel.config[name] for name in ("groups", "n", "k"))
        rows, blocks, padded = groups * m if masked else m, -(-k // 128), -(-m // 4) * 4
        memory = Memory(kernel, m)
        self.addCleanup(memory.close)
        ends = np.cumsum(counts)
        first = np.arange(groups) * m if masked else ends - counts
        owner = np.full(rows, -1)
        for group, (begin, count) in enumerate(zip(first, counts, strict=True)):
            owner[begin : begin + count] = group
        a, b = (random.integers(0, 0x70, shape, np.uint8) for shape in ((rows, k), (groups, n, k)))
        a[owner < 0] = 0x7F
        scale_a = np.where(owner < 0, np.nan, np.exp2(random.uniform(-1, 1, (blocks, rows)))).astype(np.float32)
        scale_b = np.exp2(random.uniform(-1, 1, (groups, -(-n // 128), blocks))).astype(np.float32)
        places = np.full((groups if masked else 1, blocks, padded), np.nan, np.float32)
        places[:, :, :m] = scale_a.reshape(blocks, -1, m).swapaxes(0, 1)
        for name, values in (("a", a), ("b", b), ("scale_a", places), ("scale_b", scale_b)):
            memory.put(name, values)
        memory.put("counts" if masked else "ends", np.array(counts if masked else ends, np.int32))
        memory.launch_late() if late else memory.launch()
        got = from_bf16(memory.get("d").reshape(rows, n))
        for row in np.flatnonzero(owner >= 0):
            x = E4M3[a[row]] * scale_a[:, row].repeat(128)[:k]
            w = E4M3[b[owner[row]]] * spread(scale_b[owner[row]], n, k, (128, 128))
            expected, slack = w @ x, 0.01 * np.sqrt((w * w) @ (x * x))
            self.assertTrue((np.abs(got[row] - expected) <= np.abs(expected) / 256 + slack).all(), f"row {row}")
        self.assertTrue(np.isnan(got[owner < 0]).all(), "rows of no group were written")
        self.assertTrue(memory.guards_intact())
        self.assertEqual(Context.driver.findings(), "")

    def test_groups(self) -> None:
        """Counts on the device, also such as the kernel in front writes while this one has begun."""
        shape = ("--kernel=fp8_grouped_gemm", "--groups=4", "--n=136", "--k=272")
        (contiguous,) = self.compile(*shape, "--m=16", "--tile=16x64,swap")
        (masked,) = self.compile(*shape, "--m=64", "--layout=masked", "--tile=64x64")
        for late in (False, True):
            self.grouped(contiguous, 60, [17, 0, 1, 30], late)
            self.grouped(masked, 70, [0, 70, 65, 1], late)

    def attend(self, decode: Kernel, merge: Kernel | None, lengths: list[tuple[int, int]], late: bool = False) -> None:
        """Sequences of so many keys and, last of them, so many tokens: launches on random inputs, with pages dealt at random and NaN in
        rows without a key, and checks o and lse."""
        random, heads, columns = np.random.default_rng(len(lengths)), decode.config["heads"], decode.config["pages"]
        positions = np.concatenate([np.arange(keys - tokens, keys) for keys, tokens in lengths]).astype(np.int32)
        sequences = np.repeat(np.arange(len(lengths)), [tokens for _, tokens in lengths]).astype(np.int32)
        tokens, counts = len(positions), [-(-keys // 64) for keys, _ in lengths]
        dealt = random.permutation(sum(counts) + 2)
        pages = np.full((len(lengths), columns), np.iinfo(np.int32).max, np.int32)
        rows = np.full((len(dealt) * 64, 576), np.nan)
        keys_of = []
        for index, (keys, _) in enumerate(lengths):
            pages[index, : counts[index]], dealt = dealt[: counts[index]], dealt[counts[index] :]
            at = pages[index, np.arange(keys) // 64] * 64 + np.arange(keys) % 64
            rows[at] = from_bf16(to_bf16(random.normal(size=(keys, 576))))
            keys_of.append(rows[at])
        decode.sizes = {"sequences": len(lengths), "context": len(rows)}
        q = from_bf16(to_bf16(1.5 * random.normal(size=(tokens, heads, 576))))
        memory = Memory(decode, tokens)
        self.addCleanup(memory.close)
        for name, values in (("q", to_bf16(q)), ("cache", to_bf16(rows)), ("positions", positions), ("sequences", sequences), ("pages", pages)):  # fmt: skip
            memory.put(name, values)
        memory.launch_late() if late else memory.launch()
        self.assertTrue(memory.guards_intact())
        if merge:
            merged = Memory(merge, tokens)
            self.addCleanup(merged.close)
            for name in ("o_parts", "lse_parts"):
                merged.put(name, memory.get(name))
            merged.launch()
            self.assertTrue(merged.guards_intact())
            memory = merged
        got, lse = from_bf16(memory.get("o")), memory.get("lse")
        scale = float(np.array([decode.config["softmax_scale_bits"]], np.uint32).view(np.float32)[0])
        for token, (position, sequence) in enumerate(zip(positions, sequences, strict=True)):
            seen = keys_of[sequence][: position + 1]
            scores = q[token] @ seen.T * scale
            largest = scores.max(1, initial=-np.inf, keepdims=True) if len(seen) else np.zeros((heads, 1))
            weights = np.exp(scores - largest)
            total = weights.sum(1, keepdims=True)
            weights /= np.where(total, total, 1)
            expected, most = weights @ seen[:, :512], weights @ np.abs(seen[:, :512])
            # Weights are rounded to bf16, then the result is.
            self.assertTrue((np.abs(got[token] - expected) <= (np.abs(expected) + most) / 256 + 1e-6).all(), f"token {token}")
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(lse[token], (largest + np.log(total))[:, 0], rtol=0, atol=1e-4)
        self.assertEqual(Context.driver.findings(), "")

    def test_mla_decode(self) -> None:
        """Everything that the kernel reads may be what the one in front writes while this one has begun."""
        lengths = [(1, 1), (64, 1), (70, 3), (0, 1), (129, 2)]
        (whole,) = self.compile("--kernel=mla_decode", "--heads=16", "--pages=5", "--lse")
        self.attend(whole, None, lengths)
        self.attend(whole, None, lengths[1:3], late=True)
        (parts,) = self.compile("--kernel=mla_decode", "--heads=16", "--pages=5", "--splits=3")
        (merge,) = self.compile("--kernel=mla_combine", "--heads=16", "--splits=3", "--lse")
        self.attend(parts, merge, lengths)

    def project(self, kernel: Kernel, tokens: int, late: bool = False) -> None:
        """mla_absorb with its rope, or mla_expand, on random inputs; the rows of kv_b that it must not use are NaN."""
        random, heads, absorbs = np.random.default_rng(tokens), kernel.config["heads"], "absorb" in kernel.config
        a = from_bf16(to_bf16(random.normal(size=(tokens, heads, 192 if absorbs else 512))))
        kv_b = from_bf16(to_bf16(random.normal(size=(heads, 256, 512))))
        kv_b[:, 128:] = np.nan if absorbs else kv_b[:, 128:]
        kv_b[:, :128] = kv_b[:, :128] if absorbs else np.nan
        angles = random.uniform(0, 6, size=(tokens, 1, 32))
        cosines, sines = (f(angles).astype(np.float32).astype(np.float64) for f in (np.cos, np.sin))
        memory = Memory(kernel, tokens)
        self.addCleanup(memory.close)
        memory.put("a", to_bf16(a))
        memory.put("b", to_bf16(kv_b))
        if absorbs:
            memory.put("rope", np.concatenate([cosines, sines], 2).astype(np.float32))
            left, right = a[..., 128::2], a[..., 129::2]
            turned = np.stack([left * cosines - right * sines, left * sines + right * cosines], -1).reshape(tokens, heads, 64)
            want = np.concatenate([np.einsum("thd,hdc->thc", a[..., :128], kv_b[:, :128]), turned], 2)
        else:
            want = np.einsum("thc,hvc->thv", a, kv_b[:, 128:])
        memory.launch_late() if late else memory.launch()
        self.assertTrue(memory.guards_intact())
        got = from_bf16(memory.get("d")).reshape(want.shape)
        # Sums of up to 512 products of about 1, in f32, then one rounding to bf16.
        self.assertLess(float((np.abs(got - want) - np.abs(want) / 256).max()), 1e-3)
        self.assertEqual(Context.driver.findings(), "")

    def test_projections_of_heads(self) -> None:
        """Queries, latents and the table of rope may be what the kernel in front writes while this one has begun."""
        for kernel in (
            *self.compile("--kernel=mla_absorb", "--heads=3", "--rope=interleaved", "--m=1-70"),
            *self.compile("--kernel=mla_expand", "--heads=3", "--m=1-70"),
        ):
            for tokens in (1, 67):
                self.project(kernel, tokens)
                self.project(kernel, tokens, late=True)

    def test_quantize(self) -> None:
        for flags in ((), ("--scale-format=ue8m0",)):
            (kernel,) = self.compile("--kernel=quantize", "--k=200", "--in=f32", *flags)
            m, k = 5, 200
            memory = Memory(kernel, m)
            self.addCleanup(memory.close)
            x = np.random.default_rng(1).normal(size=(m, k)).astype(np.float32)
            memory.put("x", x)
            memory.launch()
            largest = np.stack([np.abs(x[:, i : i + 128]).max(1) for i in (0, 128)], 1)
            scales = largest / 448
            if flags:
                scales = np.exp2(np.ceil(np.log2(scales)))
            np.testing.assert_allclose(memory.get("scale")[:, :m].T, scales, rtol=1e-6)
            wanted = x / spread(scales, m, k, (1, 128))
            got = E4M3[memory.get("q")[:, :k]]
            # Half a step of e4m3, which has 3 bits of mantissa and no exponent below -6.
            step = np.exp2(np.maximum(np.floor(np.log2(np.abs(wanted))), -6) - 3)
            self.assertTrue((np.abs(got - wanted) <= step * 0.5001).all())
            self.assertTrue(memory.guards_intact())
            self.assertEqual(Context.driver.findings(), "")

    def test_dequantize(self) -> None:
        (kernel,) = self.compile("--kernel=dequantize", "--n=130", "--k=200")
        memory = Memory(kernel, 1)
        self.addCleanup(memory.close)
        random = np.random.default_rng(2)
        q, scales = random.integers(0, 0x7F, (130, 200), np.uint8), random.uniform(0.5, 2, (2, 2)).astype(np.float32)
        memory.put("q", q)
        memory.put("scale", scales)
        memory.launch()
        wanted = to_bf16(E4M3[q].astype(np.float32) * spread(scales, 130, 200, (128, 128)))
        np.testing.assert_array_equal(memory.get("x"), wanted)
        self.assertTrue(memory.guards_intact())

    def test_faults_show(self) -> None:
        """What a wrong kernel would do is noticed."""
        (kernel,) = self.compile("--kernel=fp8_gemm", "--n=16", "--k=128", "--m=8", "--tile=64x64")
        self.addCleanup(os.environ.pop, "SIM_CUDA_FAULT", None)
        for fault in ("skip", "flip"):
            os.environ["SIM_CUDA_FAULT"] = fault
            self.assertGreater(self.wrong(self.gemm(kernel, 8)), 1)
        os.environ["SIM_CUDA_FAULT"] = "overrun"
        memory = self.gemm(kernel, 8)
        self.assertLessEqual(self.wrong(memory), 1)
        self.assertFalse(memory.guards_intact())

    def programmatic(self, name: str, wait: bool) -> Kernel:
        (kernel,) = self.compile("--kernel=fp8_gemm", "--n=136", "--k=200", "--m=8", "--tile=64x64")
        copy_kernel(kernel.path, Context.folder / name, wait)
        return Kernel(Context.driver, Context.folder / f"{name}.json")

    def test_programmatic(self) -> None:
        """A kernel that waits is right behind one that writes its operands late; that one does not wait is seen twice over."""
        self.addCleanup(os.environ.pop, "SIM_CUDA_FAULT", None)
        kernel = self.programmatic("waits", True)
        self.assertEqual([o.name for o in kernel.operands(8) if o.early], ["b", "scale_b"])
        self.assertLessEqual(self.wrong(self.gemm(kernel, 8, late=True)), 1)
        self.assertEqual(Context.driver.findings(), "")
        self.gemm(self.programmatic("does_not_wait", False), 8, late=True)
        self.assertIn("griddepcontrol.wait must come first", Context.driver.findings())
        # As a GPU may run it that starts it in front of the other's end.
        os.environ["SIM_CUDA_FAULT"] = "early"
        self.assertGreater(self.wrong(self.gemm(kernel, 8, late=True)), 1)

    def test_attributes(self) -> None:
        """Cluster and programmatic launch as cuda.h lays them out, together and alone."""
        seen = []

        class Library:
            def cuLaunchKernelEx(self, config: Any, *_: Any) -> int:  # noqa: N802
                config = config._obj
                seen.append([(a.id, list(a.value[:3])) for a in config.attributes[: config.attribute_count]])
                return 0

        driver = Driver()
        driver.library = Library()
        for cluster, programmatic in (([1, 1, 1], False), ([2, 1, 1], False), ([1, 1, 1], True), ([2, 1, 1], True)):
            driver.launch(None, 4, [128, 1, 1], cluster, 0, None, 0, programmatic)
        size, early = (LAUNCH_ATTRIBUTE_CLUSTER, [2, 1, 1]), (LAUNCH_ATTRIBUTE_PROGRAMMATIC, [1, 0, 0])
        self.assertEqual(seen, [[], [size], [early], [size, early]])

    def test_refusals(self) -> None:
        (kernel,) = self.compile("--kernel=fp8_gemm", "--n=16", "--k=128", "--m=8", "--tile=64x64")
        with self.assertRaisesRegex(DriverError, "cuTensorMapEncodeTiled failed"):
            kernel.prepare([8] * len(kernel.recipe["operands"]), 8)
        kernel.launch(kernel.prepare([256] * len(kernel.recipe["operands"]), 1), 0)  # an empty grid is no launch
        with self.assertRaisesRegex(DriverError, "takes neither"):
            (Context.folder / "broken.json").write_text(json.dumps(kernel.recipe))
            (Context.folder / "broken.ptx").write_text("no PTX")
            Kernel(Context.driver, Context.folder / "broken.json")
        with self.assertRaises(ValueError):
            evaluate(["-", 1, 2], {})
        self.assertEqual(evaluate(["min", "sms", ["*", 2, ["ceildiv", "M", 128]]], {"sms": 132, "M": 300}), 6)

    def test_no_gpu(self) -> None:
        os.environ["SIM_CUDA_FAULT"] = "no-gpu"
        self.addCleanup(os.environ.pop, "SIM_CUDA_FAULT", None)
        with self.assertRaisesRegex(NoGpu, "the CUDA driver sees no GPU"):
            Driver()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quant-compile", type=Path, required=True)
    parser.add_argument("--cuda", type=Path, required=True)
    arguments, rest = parser.parse_known_args()
    # dlopen reads the variable at the process's start only.
    if os.environ.get("LD_LIBRARY_PATH", "").split(":")[0] != str(arguments.cuda):
        os.environ["LD_LIBRARY_PATH"] = f"{arguments.cuda}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(prefix="gpu-harness-") as folder:
        Context.quant_compile, Context.folder, Context.driver = arguments.quant_compile, Path(folder), Driver()
        unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
