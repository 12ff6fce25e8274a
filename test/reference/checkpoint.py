# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads a Hugging Face checkpoint folder (config.json, safetensors, index and shards) with NumPy alone, and writes small ones.

Format: https://github.com/huggingface/safetensors (u64 header length, JSON header, data).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fp8 import E4M3, dequantize_blocks

#: safetensors dtype -> the NumPy dtype of its raw storage
STORAGE = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E8M0": "u1",
    "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1",
}  # fmt: skip


class SafetensorsFile:
    """One memory-mapped safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            self.header: dict[str, Any] = json.loads(file.read(header_bytes))
        self.metadata = self.header.pop("__metadata__", {})
        self._data = np.memmap(path, np.uint8, "r")[8 + header_bytes :] if self.header else np.zeros(0, np.uint8)

    def dtype(self, name: str) -> str:
        return self.header[name]["dtype"]

    def raw(self, name: str) -> np.ndarray:
        """The tensor as stored: BF16 as uint16, F8_E4M3 as uint8."""
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        return self._data[begin:end].view(STORAGE[entry["dtype"]]).reshape(entry["shape"])

    def values(self, name: str) -> np.ndarray:
        """The tensor's values, float64; integers stay integers."""
        raw, dtype = self.raw(name), self.dtype(name)
        if dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        if dtype == "F8_E4M3":
            return E4M3[raw]
        if dtype == "F8_E8M0":
            return np.where(raw == 255, np.nan, np.ldexp(1.0, raw.astype(np.int32) - 127))
        return raw.astype(np.float64) if dtype.startswith("F") else raw


class Checkpoint:
    """A folder: `config`, and every tensor by name whatever shard holds it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        index = self.folder / "model.safetensors.index.json"
        if index.exists():
            shard_of = json.loads(index.read_text())["weight_map"]
            files = {shard: SafetensorsFile(self.folder / shard) for shard in sorted(set(shard_of.values()))}
            self._file_of = {name: files[shard] for name, shard in shard_of.items()}
        else:
            single = SafetensorsFile(self.folder / "model.safetensors")
            self._file_of = dict.fromkeys(single.header, single)
        quantization = self.config.get("quantization_config") or {}
        rows, columns = quantization.get("weight_block_size") or (128, 128)
        self.block = (int(rows), int(columns))

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def names(self) -> list[str]:
        return sorted(self._file_of)

    def is_fp8(self, name: str) -> bool:
        return self._file_of[name].dtype(name) == "F8_E4M3"

    def tensor(self, name: str) -> np.ndarray:
        """float64 values; an FP8 weight times its `weight_scale_inv`, and an error when that is missing."""
        if name not in self._file_of:
            raise KeyError(f"{self.folder}: no tensor {name}")
        values = self._file_of[name].values(name)
        if not self.is_fp8(name):
            return values
        scale_name = name + "_scale_inv"
        if scale_name not in self._file_of:
            raise KeyError(f"{self.folder}: {name} is FP8 and {scale_name} is missing")
        return dequantize_blocks(values, self._file_of[scale_name].values(scale_name), self.block)


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, np.ndarray]], metadata: Mapping[str, str] | None = None) -> None:
    """Writes {name: (safetensors dtype, array in that dtype's raw storage)}, in the order given."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset, parts = 0, []
    for name, (dtype, array) in tensors.items():
        data = np.ascontiguousarray(array, STORAGE[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        parts.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def to_bf16(values: np.ndarray) -> np.ndarray:
    """float -> the uint16 pattern of the nearest bfloat16, ties to even (no NaN)."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def round_to_bf16(values: np.ndarray) -> np.ndarray:
    """float -> the nearest bfloat16, as float64."""
    return (to_bf16(values).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
