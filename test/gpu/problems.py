# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What each kind of kernel computes, in torch's float32: random inputs, poisoned outputs, the comparison.

A kernel runs on the same inputs several times: plainly, again (the bits must be the same, or it has a race), and, where its
recipe says programmatic, started before the kernel in front of it has written its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from driver import Driver
from late import LateCopy, NoLateCopy, late_copy
from recipe import Arguments, Kernel, Operand

GUARD_BYTES = 4096
#: Further plain runs on a GPU. The simulator finds races by itself.
REPEATS = 3
#: How a fault begins that plain launches do not have.
PROGRAMMATIC = "launched programmatically"
#: Poison: 0xff is NaN in every float type here, and so is 0x7f in e4m3 (in f32 0x7f7f7f7f is large).
OUTPUT_POISON, PADDING_POISON = 0xFF, 0x7F
DTYPE = {"f8E4M3FN": torch.float8_e4m3fn, "bf16": torch.bfloat16, "f32": torch.float32, "i32": torch.int32, "i8": torch.int8}
E4M3_MAX = 448.0


def random_e4m3(rows: int, columns: int, device: str) -> torch.Tensor:
    """Normal values that fill e4m3's range: the tensor cores' speed depends on the data."""
    values = torch.randn(rows, columns, device=device) * 100
    return values.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def random_elements(kernel: Kernel, rows: int, columns: int, device: str) -> torch.Tensor:
    """What a matmul's operand may hold: all of INT8's range, normal values of the others."""
    if "int8" in kernel.config:
        return torch.randint(-128, 128, (rows, columns), dtype=torch.int8, device=device)
    return torch.randn(rows, columns, device=device).bfloat16() if "bf16" in kernel.config else random_e4m3(rows, columns, device)


def random_scales(rows: int, columns: int, device: str) -> torch.Tensor:
    """Different by a factor of up to 4 from block to block, so that a wrong one shows."""
    return torch.exp2(torch.rand(rows, columns, device=device) * 2 - 1) / E4M3_MAX


class Buffer:
    """An operand's memory with a guard behind it, all bytes of it `fill` at first."""

    def __init__(self, operand: Operand, device: str, fill: int) -> None:
        self.operand = operand
        self.fill = fill
        self.memory = torch.full((operand.bytes + GUARD_BYTES,), fill, dtype=torch.uint8, device=device)

    @property
    def address(self) -> int:
        return self.memory.data_ptr()

    def rows(self) -> torch.Tensor:
        """[rows, pitch] bytes."""
        return self.memory[: self.operand.bytes].view(self.operand.rows, self.operand.pitch)

    def put(self, values: torch.Tensor) -> None:
        data = values.contiguous().view(torch.uint8).view(self.operand.rows, self.operand.row_bytes)
        self.rows()[:, : self.operand.row_bytes] = data

    def get(self) -> torch.Tensor:
        data = self.rows()[:, : self.operand.row_bytes].contiguous()
        return data.view(DTYPE[self.operand.dtype]).view(self.operand.shape)

    def guard_intact(self) -> bool:
        return bool((self.memory[self.operand.bytes :] == self.fill).all())


class Operands:
    """The memory of every operand of a launch, in the recipe's order."""

    def __init__(self, kernel: Kernel, m: int, device: str) -> None:
        self.kernel, self.device = kernel, device
        self.registered: list[torch.Tensor] = []
        #: What was in memory at keep().
        self.initial: dict[str, torch.Tensor] = {}
        self.buffers = {}
        for operand in kernel.operands(m):
            fill = 0 if operand.zeroed else OUTPUT_POISON if operand.access != "read" else PADDING_POISON
            buffer = self.buffers[operand.name] = Buffer(operand, device, fill)
            self.register(buffer.memory, operand.early)

    def __enter__(self) -> Operands:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def register(self, memory: torch.Tensor, constant: bool) -> None:
        if self.kernel.driver.simulated:
            self.kernel.driver.register(memory.data_ptr(), memory.numel() * memory.element_size(), constant)
            self.registered.append(memory)

    def close(self) -> None:
        """Gives up what the simulator was told of."""
        for memory in self.registered:
            self.kernel.driver.unregister(memory.data_ptr())
        self.registered.clear()

    def __getitem__(self, name: str) -> Buffer:
        return self.buffers[name]

    def __contains__(self, name: str) -> bool:
        return name in self.buffers

    def addresses(self) -> list[int]:
        return [buffer.address for buffer in self.buffers.values()]

    def overrun(self) -> str:
        """The operand behind which memory was written, if any."""
        bad = [name for name, buffer in self.buffers.items() if not buffer.guard_intact()]
        return f"memory behind {bad[0]} was written" if bad else ""

    def keep(self) -> None:
        """Remembers what is in memory, for restore() and restore_late()."""
        self.initial = {name: buffer.memory.clone() for name, buffer in self.buffers.items()}
        rows = []
        for name, memory in self.initial.items():
            if not self.buffers[name].operand.early:
                self.register(memory, False)
                rows.append([self.buffers[name].address, memory.data_ptr(), -(-self.buffers[name].operand.bytes // 4)])
        self.table = torch.tensor(rows, dtype=torch.int64, device=self.device)
        self.register(self.table, False)

    def restore(self) -> None:
        for name, memory in self.initial.items():
            self.buffers[name].memory.copy_(memory)

    def restore_late(self, late: LateCopy, stream: int) -> None:
        """As restore(), but by a kernel that does so late; until then NaN is in every operand that is not early."""
        self.restore()
        for buffer in self.buffers.values():
            if not buffer.operand.early:
                buffer.memory[: buffer.operand.bytes] = OUTPUT_POISON
        late.launch(self.table.data_ptr(), len(self.table), stream)

    def results(self) -> dict[str, torch.Tensor]:
        written = {name: b for name, b in self.buffers.items() if b.operand.access != "read" and not b.operand.scratch}
        return {name: buffer.rows()[:, : buffer.operand.row_bytes].clone() for name, buffer in written.items()}


def expand_scales(scales: torch.Tensor, rows: int, columns: int, block: tuple[int, int]) -> torch.Tensor:
    """[ceil(rows / block rows), ceil(columns / block columns)] to a value per element."""
    return scales.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]


# --- Matmuls: fp8_gemm, int8_gemm, bf16_gemm ---


def is_fp8(kernel: Kernel) -> bool:
    return "int8" not in kernel.config and "bf16" not in kernel.config


@dataclass
class Matrix:
    """Elements, and what they are scaled by: each by its block's (FP8), a row by its own (INT8), or nothing (bf16)."""

    elements: torch.Tensor
    scales: torch.Tensor | None = None
    block: tuple[int, int] = (1, 1)

    def values(self) -> torch.Tensor:
        elements = self.elements.float()
        return elements if self.scales is None else elements * expand_scales(self.scales, *elements.shape, self.block)


def multiply(kernel: Kernel, a: Matrix, b: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """a times b transposed, and by how much a kernel's sums may be off."""
    if a.scales is not None and b.scales is not None and "int8" in kernel.config:
        # Exact; then three roundings to f32.
        value = (a.elements.double() @ b.elements.double().t()) * a.scales.double()[:, None] * b.scales.double()
        return value, value.abs() * 2.0**-22
    x, w = a.values(), b.values()
    # 1 % of the random walk's length: about 20 times what the tensor core loses with its 14-bit alignment of products, and a
    # quarter of what one wrong scale among 144 blocks does.
    return x @ w.t(), 0.01 * ((x * x) @ (w * w).t()).sqrt()


def fill_gemm(kernel: Kernel, operands: Operands, m: int, device: str) -> None:
    """Random inputs. The padding of scale_a is NaN: a kernel must not let it through."""
    n, k = kernel.config["n"], kernel.config["k"]
    operands["a"].put(random_elements(kernel, m, k, device))
    operands["b"].put(random_elements(kernel, n, k, device))
    blocks = -(-k // 128)
    if is_fp8(kernel):
        scales = torch.full((blocks, -(-m // 4) * 4), float("nan"), device=device)
        scales[:, :m] = random_scales(blocks, m, device)
        operands["scale_a"].put(scales)
        operands["scale_b"].put(random_scales(-(-n // 128), blocks, device))
    elif "scale_a" in operands:
        operands["scale_a"].put(random_scales(1, m, device))
        operands["scale_b"].put(random_scales(1, n, device).to(DTYPE[operands["scale_b"].operand.dtype]))
    if "bias" in operands:
        operands["bias"].put(torch.randn(n, device=device) * k**0.5 / 8)
    if operands["d"].operand.access == "readwrite":
        operands["d"].put((torch.randn(m, n, device=device) * k**0.5 / 8).to(DTYPE[operands["d"].operand.dtype]))


@dataclass
class Expected:
    """What a result should be, and how far it may be off."""

    value: torch.Tensor
    tolerance: torch.Tensor


def expect_gemm(kernel: Kernel, operands: Operands, m: int) -> Expected:
    n, k = kernel.config["n"], kernel.config["k"]
    a, b = Matrix(operands["a"].get().view(m, k)), Matrix(operands["b"].get().view(n, k))
    if is_fp8(kernel):
        a = Matrix(a.elements, operands["scale_a"].get()[:, :m].t(), (1, 128))
        b = Matrix(b.elements, operands["scale_b"].get(), (128, 128))
    elif "scale_a" in operands:
        a, b = Matrix(a.elements, operands["scale_a"].get().view(m)), Matrix(b.elements, operands["scale_b"].get().view(n))
    value, tolerance = multiply(kernel, a, b)
    if "bias" in operands:
        value += operands["bias"].get()
    if operands["d"].operand.access == "readwrite":
        value += operands["d"].get().float()
    if operands["d"].operand.dtype == "bf16":
        tolerance += value.abs() / 256
    return Expected(value, tolerance + value.abs() * 1e-5 + 1e-30)


def compare_gemm(operands: Operands, expected: Expected) -> str:
    got = operands["d"].get().float()
    if not got.isfinite().all():
        row, column = (int(i) for i in (~got.isfinite()).nonzero()[0])
        return f"d[{row}, {column}] is not finite: never written, or poisoned"
    excess = (got - expected.value).abs() - expected.tolerance
    if not (excess <= 0).all():
        row, column = divmod(int(excess.argmax()), got.shape[1])
        return (f"d[{row}, {column}] is {float(got[row, column]):.6g}, should be {float(expected.value[row, column]):.6g} +- "
                f"{float(expected.tolerance[row, column]):.2g}")  # fmt: skip
    return ""


# --- fp8_grouped_gemm, int8_grouped_gemm, bf16_grouped_gemm ---


def group_sizes(kernel: Kernel, m: int) -> list[int]:
    """Rows of each group: none, few, all that are left; where groups have places of m rows, also all of such a place."""
    groups, random = kernel.config["groups"], Random(m)
    if "masked" in kernel.config:
        return [(0, m, random.randint(0, m))[group % 3] for group in range(groups)]
    cuts = sorted(random.randint(0, m) for _ in range(groups - 1))
    return [end - begin for begin, end in zip([0, *cuts], [*cuts, m], strict=True)]


def rows_of_groups(kernel: Kernel, m: int) -> Iterator[tuple[int, int, int]]:
    """Of each group its number, its first row and how many rows it has."""
    begin = 0
    for group, count in enumerate(group_sizes(kernel, m)):
        yield group, (group * m if "masked" in kernel.config else begin), count
        begin += count


def fill_grouped(kernel: Kernel, operands: Operands, m: int, device: str) -> None:
    """Random inputs; rows of no group and their scales are NaN."""
    groups, n, k = (kernel.config[name] for name in ("groups", "n", "k"))
    rows, blocks = operands["a"].operand.rows, -(-k // 128)
    places, padded = rows // m, -(-m // 4) * 4
    blocks = blocks if is_fp8(kernel) else 1
    a = torch.full((rows, k), 127.0 if "int8" in kernel.config else float("nan"), device=device).to(DTYPE[operands["a"].operand.dtype])
    scales = torch.full((blocks, rows), float("nan"), device=device)
    for _, begin, count in rows_of_groups(kernel, m):
        a[begin : begin + count] = random_elements(kernel, count, k, device)
        scales[:, begin : begin + count] = random_scales(blocks, count, device)
    operands["a"].put(a)
    operands["b"].put(random_elements(kernel, groups * n, k, device))
    if is_fp8(kernel):
        laid = torch.full((places, blocks, padded), float("nan"), device=device)
        laid[:, :, :m] = scales.view(blocks, places, m).transpose(0, 1)
        operands["scale_a"].put(laid)
        operands["scale_b"].put(random_scales(groups * -(-n // 128), blocks, device))
    elif "scale_a" in operands:
        operands["scale_a"].put(scales)
        operands["scale_b"].put(random_scales(1, groups * n, device).to(DTYPE[operands["scale_b"].operand.dtype]))
    counts = torch.tensor(group_sizes(kernel, m), dtype=torch.int32, device=device)
    name = "counts" if "masked" in kernel.config else "ends"
    operands[name].put(counts if name == "counts" else counts.cumsum(0).to(torch.int32))


def check_grouped(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    groups, n, k = (kernel.config[name] for name in ("groups", "n", "k"))
    rows, blocks = operands["a"].operand.rows, -(-k // 128)
    places = rows // m
    a = operands["a"].get().view(rows, k)
    b = operands["b"].get().view(groups, n, k)
    value = torch.full((rows, n), float("nan"), device=a.device)
    tolerance = torch.zeros_like(value)

    def matrices(group: int, at: slice) -> tuple[Matrix, Matrix]:
        if "scale_a" not in operands:
            return Matrix(a[at]), Matrix(b[group])
        scale_a, scale_b = operands["scale_a"].get(), operands["scale_b"].get().view(groups, -1)
        if not is_fp8(kernel):
            return Matrix(a[at], scale_a.view(rows)[at]), Matrix(b[group], scale_b[group])
        by_block = scale_a.view(places, blocks, -1)[:, :, :m].transpose(0, 1).reshape(blocks, rows)
        return Matrix(a[at], by_block[:, at].t(), (1, 128)), Matrix(b[group], scale_b[group].view(-1, blocks), (128, 128))

    for group, begin, count in rows_of_groups(kernel, m):
        at = slice(begin, begin + count)
        products, off = multiply(kernel, *matrices(group, at))
        value[at] = products.float()
        tolerance[at] = off.float() + value[at].abs() / 256 + 1e-30

    def compare() -> str:
        got = operands["d"].get().float().view(rows, n)
        if (fault := ~((got - value).abs() <= tolerance) & value.isfinite()).any():
            row, column = (int(i) for i in fault.nonzero()[0])
            return f"d[{row}, {column}] is {float(got[row, column]):.6g}, should be {float(value[row, column]):.6g}"
        if (written := got.isfinite() & ~value.isfinite()).any():
            return f"row {int(written.nonzero()[0][0])} of d is of no group, and was written"
        return ""

    return compare


# --- mla_decode and mla_combine ---


@dataclass
class Sequences:
    """Which tokens a call of mla_decode has, and which keys."""

    keys: list[int]  #: of each sequence
    tokens: list[int]  #: its last ones, which attend

    @property
    def positions(self) -> list[int]:
        return [keys - tokens + i for keys, tokens in zip(self.keys, self.tokens, strict=True) for i in range(tokens)]

    @property
    def owners(self) -> list[int]:
        return [sequence for sequence, tokens in enumerate(self.tokens) for _ in range(tokens)]


def sequences_of(kernel: Kernel, m: int, full: bool = False) -> Sequences:
    """Lengths of all kinds, one sequence without a key; or (full) a token of each sequence, with all keys that there can be."""
    most, random = kernel.config["pages"] * 64, Random(m)
    if full:
        return Sequences([most] * m, [1] * m)
    keys, tokens = [], []
    while sum(tokens) < m:
        tokens.append(min(1 + len(tokens) % 3, m - sum(tokens)))
        keys.append(random.choice([tokens[-1], 63, 64, 65, most, random.randint(3, most)]))
    if m > 1:
        keys[0] = 0
    return Sequences(keys, tokens)


def size_decode(kernel: Kernel, m: int, full: bool = False) -> None:
    """The sizes beside M that the operands' shapes have."""
    sequences = sequences_of(kernel, m, full)
    kernel.sizes = {"sequences": len(sequences.keys), "context": (sum(-(-keys // 64) for keys in sequences.keys) + 1) * 64}


def fill_decode(kernel: Kernel, operands: Operands, m: int, device: str, full: bool = False) -> None:
    """Pages dealt at random; NaN in rows without a key, numbers of no page behind a sequence's last."""
    sequences, context = sequences_of(kernel, m, full), kernel.sizes["context"]
    dealt = torch.randperm(context // 64, device=device, dtype=torch.int32)
    pages = torch.full((len(sequences.keys), kernel.config["pages"]), 2**31 - 1, dtype=torch.int32, device=device)
    cache = torch.full((context, 576), float("nan"), dtype=torch.bfloat16, device=device)
    begin = 0
    for index, keys in enumerate(sequences.keys):
        count = -(-keys // 64)
        pages[index, :count] = dealt[begin : begin + count]
        begin += count
        cache[rows_of_keys(pages[index], keys)] = torch.randn(keys, 576, device=device).bfloat16()
    operands["cache"].put(cache)
    operands["pages"].put(pages)
    operands["q"].put((1.5 * torch.randn(m * kernel.config["heads"], 576, device=device)).bfloat16())
    for name, values in (("positions", sequences.positions), ("sequences", sequences.owners)):
        operands[name].put(torch.tensor(values, dtype=torch.int32, device=device))


def rows_of_keys(pages: torch.Tensor, keys: int) -> torch.Tensor:
    at = torch.arange(keys, device=pages.device)
    return pages[at // 64].long() * 64 + at % 64


def merge_parts(o: torch.Tensor, lse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """o [splits, tokens, heads, 512] and lse [splits, tokens, heads] to those of all keys."""
    largest = lse.amax(0).nan_to_num(neginf=0)
    weights = torch.exp(lse - largest)
    total = weights.sum(0)
    merged = (weights[..., None] * o.nan_to_num()).sum(0) / torch.where(total > 0, total, 1)[..., None]
    return merged, largest + total.log()


def check_decode(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    sequences, heads = sequences_of(kernel, m), kernel.config["heads"]
    scale = torch.tensor([kernel.config["softmax_scale_bits"]], dtype=torch.int64).to(torch.int32).view(torch.float32).item()
    q, cache = operands["q"].get().float().view(m, heads, 576), operands["cache"].get().float()
    pages = operands["pages"].get()
    value, tolerance = torch.zeros(m, heads, 512, device=q.device), torch.zeros(m, heads, 512, device=q.device)
    sums = torch.full((m, heads), float("-inf"), device=q.device)
    for token, (position, owner) in enumerate(zip(sequences.positions, sequences.owners, strict=True)):
        if position < 0:
            continue
        seen = cache[rows_of_keys(pages[owner], position + 1)]
        scores = q[token] @ seen.t() * scale
        weights = scores.softmax(1)
        value[token] = weights @ seen[:, :512]
        # Weights are rounded to bf16, then the result is.
        tolerance[token] = (value[token].abs() + weights @ seen[:, :512].abs()) / 256 + 1e-6
        sums[token] = scores.logsumexp(1)

    def compare() -> str:
        if "o_parts" in operands:
            splits = kernel.config["splits"]
            got, lse = merge_parts(operands["o_parts"].get().view(splits, m, heads, 512),
                                   operands["lse_parts"].get().view(splits, m, heads))  # fmt: skip
        else:
            got = operands["o"].get().float().view(m, heads, 512)
            lse = operands["lse"].get().view(m, heads) if "lse" in operands else sums
        return wrong_attention(got, value, tolerance) or wrong_sums(lse, sums)

    return compare


def wrong_attention(got: torch.Tensor, value: torch.Tensor, tolerance: torch.Tensor) -> str:
    if not (fault := ~((got - value).abs() <= tolerance)).any():
        return ""
    at = tuple(int(i) for i in fault.nonzero()[0])
    return f"o{list(at)} is {float(got[at]):.6g}, should be {float(value[at]):.6g} +- {float(tolerance[at]):.2g}"


def wrong_sums(got: torch.Tensor, wanted: torch.Tensor) -> str:
    if torch.allclose(got, wanted, rtol=0, atol=1e-3):
        return ""
    at = tuple(int(i) for i in (~torch.isclose(got, wanted, rtol=0, atol=1e-3)).nonzero()[0])
    return f"lse{list(at)} is {float(got[at]):.6g}, should be {float(wanted[at]):.6g}"


def fill_combine(kernel: Kernel, operands: Operands, m: int, device: str) -> None:
    """Parts of all weights, some without a key, a token that has none at all."""
    shape = (kernel.config["splits"], m, kernel.config["heads"])
    lse = torch.randn(*shape, device=device) * 5
    lse[torch.rand(*shape, device=device) < 0.2] = float("-inf")
    lse[:, 0] = float("-inf")
    operands["lse_parts"].put(lse)
    operands["o_parts"].put(torch.randn(*shape, 512, device=device) * (lse > float("-inf"))[..., None])


def check_combine(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    shape = (kernel.config["splits"], m, kernel.config["heads"])
    value, sums = merge_parts(operands["o_parts"].get().view(*shape, 512), operands["lse_parts"].get().view(*shape))

    def compare() -> str:
        got = operands["o"].get().float().view(value.shape)
        lse = operands["lse"].get().view(sums.shape) if "lse" in operands else sums
        return wrong_attention(got, value, value.abs() / 128 + 1e-5) or wrong_sums(lse, sums)

    return compare


# --- quantize ---


def quantize_reference(x: torch.Tensor, power_of_two: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """DeepSeek's act_quant: q e4m3 [M, K], scales [M, ceil(K / 128)]."""
    m, k = x.shape
    padded = torch.zeros(m, -(-k // 128) * 128, device=x.device)
    padded[:, :k] = x.float()
    largest = padded.view(m, -1, 128).abs().amax(2).clamp(min=1e-4)
    scales = largest / E4M3_MAX
    if power_of_two:
        scales = torch.exp2(torch.ceil(torch.log2(scales)))
    q = (x.float() / expand_scales(scales, m, k, (1, 128))).clamp(-E4M3_MAX, E4M3_MAX)
    return q.to(torch.float8_e4m3fn), scales


def fill_quantize(kernel: Kernel, operands: Operands, m: int, device: str) -> None:
    """Groups of all magnitudes, and one of zeros."""
    x = operands["x"].operand
    k = x.shape[-1]
    values = torch.randn(m, k, device=device) * torch.exp2(torch.randint(-12, 12, (m, -(-k // 128)), device=device).float()
                                                           ).repeat_interleave(128, 1)[:, :k]  # fmt: skip
    values[0, :128] = 0
    operands["x"].put(values.to(DTYPE[x.dtype]))


def check_quantize(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    x = operands["x"].get()
    q, scales = quantize_reference(x, kernel.name.endswith("_ue8m0"))

    def compare() -> str:
        got = operands["scale"].get()[:, :m].t()
        if not torch.allclose(got, scales, rtol=1e-6, atol=0):
            at = int((got - scales).abs().nan_to_num(1e30).argmax())
            row, group = divmod(at, scales.shape[1])
            return (
                f"scale of row {row}, group {group} is {float(got[row, group]):.8g}, should be {float(scales[row, group]):.8g}"
            )
        # Rows of q may be padded.
        codes, wanted = operands["q"].get()[:, : x.shape[1]].view(torch.uint8).int(), q.view(torch.uint8).int()
        # A tie may go the other way where the scale differs in its last bit; -0 is as good as 0.
        off = ((codes - wanted).abs() > 0) & ((codes | wanted) & 0x7F != 0)
        far = (codes - wanted).abs() > 1
        if (off & far).any() or off.float().mean() > 1e-4:
            row, column = (int(i) for i in off.nonzero()[0])
            return f"q[{row}, {column}] is 0x{int(codes[row, column]):02x}, should be 0x{int(wanted[row, column]):02x}"
        return ""

    return compare


# --- dequantize ---


def fill_dequantize(kernel: Kernel, operands: Operands, m: int, device: str) -> None:
    rows, columns = operands["q"].operand.shape
    operands["q"].put(random_e4m3(rows, columns, device))
    operands["scale"].put(random_scales(-(-rows // 128), -(-columns // 128), device))


def check_dequantize(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    rows, columns = operands["q"].operand.shape
    scales = expand_scales(operands["scale"].get(), rows, columns, (128, 128))
    wanted = (operands["q"].get().float() * scales).to(DTYPE[operands["x"].operand.dtype])

    def compare() -> str:
        got = operands["x"].get()
        wrong = ~(got == wanted)
        if wrong.any():
            row, column = (int(i) for i in wrong.nonzero()[0])
            return f"x[{row}, {column}] is {float(got[row, column]):.8g}, should be {float(wanted[row, column]):.8g}"
        return ""

    return compare


# --- All kinds ---


def check_gemm(kernel: Kernel, operands: Operands, m: int) -> Callable[[], str]:
    # Before the launch: an accumulating kernel changes what it adds to.
    expected = expect_gemm(kernel, operands, m)
    return lambda: compare_gemm(operands, expected)


FILL = {"fp8_gemm": fill_gemm, "fp8_grouped_gemm": fill_grouped, "mla_decode": fill_decode, "mla_combine": fill_combine,
        "quantize": fill_quantize, "dequantize": fill_dequantize}  # fmt: skip
CHECK = {"fp8_gemm": check_gemm, "fp8_grouped_gemm": check_grouped, "mla_decode": check_decode, "mla_combine": check_combine,
         "quantize": check_quantize, "dequantize": check_dequantize}  # fmt: skip


def kind_of(recipe: dict[str, Any]) -> str:
    """By the operands' names: products have a and b, those of groups their counts; quantize writes q, dequantize reads it."""
    access = {operand["name"]: operand["access"] for operand in recipe["operands"]}
    if "cache" in access:
        return "mla_decode"
    if access.get("o_parts") == "read":
        return "mla_combine"
    if "a" in access and "b" in access:
        return "fp8_grouped_gemm" if "ends" in access or "counts" in access else "fp8_gemm"
    return "dequantize" if access.get("q") == "read" else "quantize"


def overlaps(driver: Driver, stream: int) -> bool:
    """Whether a programmatic launch does start in front of the other's end here, so that a missing wait would be seen."""
    words = torch.tensor([0, 1, 2], dtype=torch.int32, device="cuda")
    at = [words.data_ptr() + 4 * index for index in range(3)]
    table = torch.tensor([[at[0], at[1], 1]], dtype=torch.int64, device="cuda")
    torch.cuda.synchronize()
    late_copy(driver).launch(table.data_ptr(), 1, stream)
    late_copy(driver).peek(at[0], at[2], stream)
    driver.synchronize()
    return words.tolist() == [1, 1, 0]


def launch_late(kernel: Kernel, operands: Operands, arguments: Arguments, m: int, stream: int, times: int) -> None:
    """Programmatic launches behind a kernel that writes late what they must wait for."""
    operands.restore_late(late_copy(kernel.driver), stream)
    for _ in range(times):
        kernel.launch(arguments, m, stream, programmatic=True)


def ways(
    kernel: Kernel, operands: Operands, arguments: Arguments, m: int, stream: int
) -> Iterator[tuple[str, Callable[[], None]]]:
    """How the kernel is run on the same inputs, with words for a report; plainly first."""

    def plain() -> None:
        operands.restore()
        kernel.launch(arguments, m, stream)

    yield "", plain
    for _ in range(0 if kernel.driver.simulated else REPEATS):
        yield "run again: ", plain
    if kernel.programmatic:
        yield f"{PROGRAMMATIC}: ", lambda: launch_late(kernel, operands, arguments, m, stream, 1)
        # Two that overlap share what is scratch; where they add to an operand, the second would add again.
        if not any(buffer.operand.access == "readwrite" for buffer in operands.buffers.values()):
            yield f"{PROGRAMMATIC} twice: ", lambda: launch_late(kernel, operands, arguments, m, stream, 2)


def differing(operands: Operands, first: dict[str, torch.Tensor]) -> str:
    """The result whose bits are not those of the first run, if any."""
    bad = [name for name, bits in operands.results().items() if not torch.equal(bits, first[name])]
    return f"the bits of {bad[0]} are not those of the first run on the same inputs" if bad else ""


def check(kernel: Kernel, m: int, device: str, stream: int = 0) -> str:
    """Runs the kernel on fresh random inputs in every way it may be run; what is wrong with a result, or nothing."""
    kind = kind_of(kernel.recipe)
    if kind == "mla_decode":
        size_decode(kernel, m)
    if kernel.grid(m) == 0:
        return ""
    with Operands(kernel, m, device) as operands:
        FILL[kind](kernel, operands, m, device)
        compare = CHECK[kind](kernel, operands, m)
        arguments = kernel.prepare(operands.addresses(), m)
        operands.keep()
        if device != "cpu":
            torch.cuda.synchronize()
        first: dict[str, torch.Tensor] = {}
        for how, launch in ways(kernel, operands, arguments, m, stream):
            try:
                launch()
            except NoLateCopy as error:
                return f"{how}not checked: {error}"
            kernel.driver.synchronize()
            # Taken in any case: they are not the next one's.
            findings = kernel.driver.findings()
            if fault := compare() or operands.overrun() or (differing(operands, first) if first else "") or findings:
                return how + fault
            first = first or operands.results()
    return ""
