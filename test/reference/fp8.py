# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FP8 E4M3 (fn) codes, weight block scales and online activation quantization, exactly, in NumPy.

Sources: OCP 8-bit floating point (E4M3); DeepSeek-V3 inference/kernel.py (act_quant, weight_dequant).
"""

from __future__ import annotations

import numpy as np

E4M3_MAX = 448.0
AMAX_FLOOR = 1e-4  # DeepSeek's act_quant and DeepGEMM; vLLM has 1e-10


def _decode_e4m3(code: int) -> float:
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 0xF, code & 0x7
    if exponent == 15 and mantissa == 7:
        return float("nan")
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


#: value of each of the 256 codes, float64; no infinities, NaN at 0x7F and 0xFF
E4M3 = np.array([_decode_e4m3(code) for code in range(256)])


def encode_e4m3(values: np.ndarray) -> np.ndarray:
    """The nearest code (uint8), ties to the even mantissa, saturating at +-448; NaN becomes 0x7F."""
    magnitude = np.minimum(np.abs(np.nan_to_num(values, nan=0.0, posinf=E4M3_MAX, neginf=-E4M3_MAX)), E4M3_MAX)
    finite = E4M3[:127]
    above = np.clip(np.searchsorted(finite, magnitude), 1, 126)
    to_below, to_above = magnitude - finite[above - 1], finite[above] - magnitude
    take_above = (to_above < to_below) | ((to_above == to_below) & (above % 2 == 0))
    codes = np.where(take_above, above, above - 1) | np.where(np.signbit(values), 0x80, 0)
    return np.where(np.isnan(values), 0x7F, codes).astype(np.uint8)


def dequantize_blocks(values: np.ndarray, scales: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """values [M, N] times scales [ceil(M/bm), ceil(N/bn)], one scale a block, the last blocks ragged. Returns float64 [M, N]."""
    expected = tuple(-(-extent // size) for extent, size in zip(values.shape, block))
    if scales.shape != expected:
        raise ValueError(f"scales have shape {scales.shape}, a {values.shape} weight in {block} blocks needs {expected}")
    rows = np.repeat(scales.astype(np.float64), block[0], axis=0)[: values.shape[0]]
    return values.astype(np.float64) * np.repeat(rows, block[1], axis=1)[:, : values.shape[1]]


def ceil_to_power_of_two(scales: np.ndarray) -> np.ndarray:
    """2^ceil(log2 s) without a rounding log2: the ue8m0 scale."""
    mantissa, exponent = np.frexp(scales)
    return np.ldexp(np.ones_like(scales), np.where(mantissa == 0.5, exponent - 1, exponent))


def quantize_dequantize(x: np.ndarray, group: int = 128, ue8m0: bool = False) -> np.ndarray:
    """x [..., K] through per-token-group E4M3: scale = max(amax, 1e-4)/448 in float32, x/scale rounded. Returns float64 [..., K]."""
    width = x.shape[-1]
    padded = np.zeros((*x.shape[:-1], -(-width // group) * group), np.float32)
    padded[..., :width] = x
    grouped = padded.reshape(*x.shape[:-1], -1, group)
    amax = np.maximum(np.abs(grouped).max(axis=-1, keepdims=True), np.float32(AMAX_FLOOR))
    scales = amax / np.float32(E4M3_MAX)
    if ue8m0:
        scales = ceil_to_power_of_two(scales)
    result = E4M3[encode_e4m3(grouped / scales)] * scales.astype(np.float64)
    return result.reshape(padded.shape)[..., :width]


def quantize_dequantize_int8(x: np.ndarray) -> np.ndarray:
    """x [..., K] through INT8 with a scale for each row: max(amax, 1e-4)/127 in float32, x/scale to the nearest (even). Returns float64."""
    narrow = x.astype(np.float32)
    scales = np.maximum(np.abs(narrow).max(axis=-1, keepdims=True), np.float32(AMAX_FLOOR)) / np.float32(127)
    return np.rint(narrow / scales).astype(np.float64) * scales.astype(np.float64)
