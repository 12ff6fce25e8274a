# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The formats of the KV cache (docs/kv-cache.md) in NumPy: what of latents [T, C] and rope keys [T, R] is stored, and read back."""

from __future__ import annotations

import numpy as np

from checkpoint import to_bf16
from fp8 import AMAX_FLOOR, E4M3, E4M3_MAX, encode_e4m3

FORMATS = ("f32", "bf16", "fp8", "int8", "int4")
BYTES = FORMATS[2:]  # whose rows are bytes


def _grouped(x: np.ndarray, group: int) -> np.ndarray:
    """x [T, C] as float32 [T, groups, group], zeros beyond the last."""
    padded = np.zeros((len(x), -(-x.shape[1] // group) * group), np.float32)
    padded[:, : x.shape[1]] = x
    return padded.reshape(len(x), -1, group)


def _scales(grouped: np.ndarray, largest: float) -> np.ndarray:
    return np.maximum(np.abs(grouped).max(axis=-1, keepdims=True), np.float32(AMAX_FLOOR)) / np.float32(largest)


def _integers(latent: np.ndarray, group: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes int8 [T, groups, group], f16 scales [T, groups, 1])."""
    grouped = _grouped(latent, group)
    scales = _scales(grouped, largest).astype(np.float16)
    return np.clip(np.rint(grouped / scales.astype(np.float32)), -largest - 1, largest).astype(np.int8), scales


def _rows(*parts: np.ndarray, alignment: int = 2) -> np.ndarray:
    """The parts' bytes row by row, each part at a multiple of its numbers' size, rows ending at a multiple of `alignment`."""
    columns: list[np.ndarray] = []
    for part, size in [*((part, part.itemsize) for part in parts), (np.zeros((len(parts[0]), 0), np.uint8), alignment)]:
        pad = -sum(column.shape[1] for column in columns) % size
        columns += [np.zeros((len(part), pad), np.uint8), np.ascontiguousarray(part.reshape(len(part), -1)).view(np.uint8)]
    return np.concatenate(columns, axis=1)


def encode(kv_cache: str, latent: np.ndarray, rope_key: np.ndarray) -> np.ndarray:
    """Rows of the cache: float32 (f32), the bits of bfloat16 (bf16), else uint8."""
    if kv_cache in ("f32", "bf16"):
        row = np.concatenate([latent, rope_key], axis=1)
        return row.astype(np.float32) if kv_cache == "f32" else to_bf16(row)
    rope = to_bf16(rope_key)
    if kv_cache == "fp8":
        grouped = _grouped(latent, 128)
        scales = _scales(grouped, E4M3_MAX)
        codes = encode_e4m3(grouped / scales).reshape(len(latent), -1)[:, : latent.shape[1]]
        return _rows(codes, scales, rope, alignment=4)
    if kv_cache == "int8":
        return _rows(*_integers(latent, latent.shape[1], 127), rope)
    codes, scales = _integers(latent, 32, 7)
    return _rows((codes[..., 16:] * 16 + codes[..., :16] + 8).astype(np.int8), scales, rope)


def decode(kv_cache: str, rows: np.ndarray, latent: int, rope: int) -> tuple[np.ndarray, np.ndarray]:
    """(latents float64 [T, latent], rope keys float64 [T, rope]) of rows that encode gave."""
    if kv_cache in ("f32", "bf16"):
        values = rows if kv_cache == "f32" else (rows.astype(np.uint32) << 16).view(np.float32)
        return values[:, :latent].astype(np.float64), values[:, latent:].astype(np.float64)

    def numbers(first: int, count: int, dtype: type) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        first = -(-first // size) * size
        return np.ascontiguousarray(rows[:, first : first + count * size]).view(dtype)

    group, dtype = {"fp8": (128, np.float32), "int8": (latent, np.float16), "int4": (32, np.float16)}[kv_cache]
    groups = -(-latent // group)
    width = groups * 16 if kv_cache == "int4" else latent
    scales = numbers(width, groups, dtype)
    first_scale = -(-width // scales.itemsize) * scales.itemsize
    keys = (numbers(first_scale + groups * scales.itemsize, rope, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if kv_cache == "int4":
        pairs = rows[:, :width].view(np.int8).astype(int).reshape(len(rows), groups, 16)
        high = pairs >> 4
        codes = np.concatenate([pairs - high * 16 - 8, high], axis=-1).reshape(len(rows), -1)[:, :latent]
    else:
        codes = E4M3[rows[:, :latent]] if kv_cache == "fp8" else numbers(0, latent, np.int8)
    return codes * np.repeat(scales.astype(np.float64), group, axis=1)[:, :latent], keys.astype(np.float64)


def stored(kv_cache: str, latent: np.ndarray, rope_key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents and rope keys as they are read back; f32 is left as it is."""
    if kv_cache == "f32":
        return latent, rope_key
    return decode(kv_cache, encode(kv_cache, latent, rope_key), latent.shape[1], rope_key.shape[1])
