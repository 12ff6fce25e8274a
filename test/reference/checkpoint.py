# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads a Hugging Face checkpoint folder (config.json, safetensors, index and shards) with NumPy alone, and writes small ones.

Format: https://github.com/huggingface/safetensors (u64 header length, JSON header, data).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fp8 import E4M3, dequantize_blocks

#: safetensors dtype -> the NumPy dtype of its raw storage
STORAGE = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1",
    "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1",
}  # fmt: skip


#: values of the codes of f4E2M1FN
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


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
        if dtype == "F8_E5M2":
            return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float64)
        if dtype == "F8_E8M0":
            return power_of_two(raw)
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
        self.method = quantization.get("quant_method")
        self.zero_offset = int(self.method == "gptq" and quantization.get("checkpoint_format", "gptq") == "gptq")
        self.groups = list((quantization.get("config_groups") or {}).values()) or [{"targets": ["Linear"], "whole": quantization}]

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def names(self) -> list[str]:
        return sorted(self._file_of)

    def stored(self, name: str) -> tuple[str, np.ndarray]:
        """(safetensors dtype, the array in that dtype's raw storage), as write_safetensors() takes it."""
        return self._file_of[name].dtype(name), self._file_of[name].raw(name)

    def is_fp8(self, name: str) -> bool:
        return self._file_of[name].dtype(name) == "F8_E4M3"

    def is_integer(self, name: str) -> bool:
        """Whether a weight's codes are integers, symmetric, a scale for each row or its groups."""
        if name + "_packed" in self._file_of:
            return self._group(name)["weights"]["type"] == "int" and self._group(name)["weights"].get("symmetric", True)
        is_mxfp4 = name.removesuffix("weight") + "scale" in self._file_of
        return name in self._file_of and self._file_of[name].dtype(name) == "I8" and not is_mxfp4

    def is_bf16(self, name: str) -> bool:
        return name in self._file_of and self._file_of[name].dtype(name) == "BF16"

    def tensor(self, name: str) -> np.ndarray:
        """float64 values; a quantized weight is its codes times its scales, and an error when these are missing."""
        module = name.removesuffix(".weight")
        if name not in self._file_of and name + "_packed" in self._file_of:
            return self._scaled(name, self._packed(name))
        if name not in self._file_of and module + ".qweight" in self._file_of:
            return self._transposed(module)
        if name not in self._file_of:
            raise KeyError(f"{self.folder}: no tensor {name}")
        values = self._values(name)
        if self._file_of[name].dtype(name) == "I8" and module + ".scale" in self._file_of:  # DeepSeek-V4's experts: MXFP4
            codes = values.view(np.uint8)
            values = E2M1[np.stack([codes & 15, codes >> 4], axis=2).reshape(codes.shape[0], -1)]
            return dequantize_blocks(values, self._values(module + ".scale"), (1, 32))
        is_coded = self._file_of[name].dtype(name) in ("F8_E4M3", "F8_E5M2", "I8")
        return self._scaled(name, values) if is_coded else values

    def _values(self, name: str) -> np.ndarray:
        return self._file_of[name].values(name)

    def _group(self, name: str) -> dict[str, Any]:
        """The config group of a weight: one that names the layer, one whose expression matches it, one of all Linear."""
        module = name.removesuffix(".weight")
        for fits in (lambda t: t == module, lambda t: t.startswith("re:") and re.match(t[3:], module), lambda t: t == "Linear"):
            for group in self.groups:
                if any(fits(target) for target in group["targets"]):
                    return group
        raise KeyError(f"{self.folder}: no group for {name}")

    def block(self, name: str) -> tuple[int, int]:
        """Rows and columns of a weight that share a scale; 0 columns: all of a row."""
        return weight_block(self._group(name))

    def _packed(self, name: str) -> np.ndarray:
        """Codes of compressed-tensors' pack-quantized, less their zero points, [N, K]."""
        weights = self._group(name)["weights"]
        if weights["type"] == "float":
            codes = self._values(name + "_packed")
            return E2M1[np.stack([codes & 15, codes >> 4], axis=2).reshape(codes.shape[0], -1)]
        bits, columns = weights["num_bits"], int(self._values(name + "_shape")[1])
        codes = unpack_words(self._values(name + "_packed"), bits)[:, :columns]
        if weights.get("symmetric", True):
            return codes
        zeros = unpack_words(self._values(name + "_zero_point").T, bits).T[: codes.shape[0]]
        return codes - zeros[:, self._groups(name + "_g_idx", weights.get("group_size") or columns, columns)]

    def _groups(self, name: str, size: int, columns: int) -> np.ndarray:
        """The group of each column."""
        return self._values(name).astype(np.int64) if name in self._file_of else np.arange(columns) // size

    def _transposed(self, module: str) -> np.ndarray:
        """GPTQ's and AWQ's weights, [N, K]."""
        words, zeros, scales = (self._values(f"{module}.{part}") for part in ("qweight", "qzeros", "scales"))
        order = [0, 4, 1, 5, 2, 6, 3, 7] if self.method == "awq" else range(8)  # the nibble of each of eight outputs
        if self.method == "awq":
            codes = nibbles(words, order).T
        else:
            codes = nibbles(words.T, order)
        zero = nibbles(zeros, order).T + self.zero_offset & 15
        group = self.groups[0]["whole"].get("group_size", 128)
        groups = self._groups(module + ".g_idx", codes.shape[1] if group < 0 else group, codes.shape[1])
        return (codes - zero[:, groups]) * scales.T[:, groups]

    def _scaled(self, name: str, codes: np.ndarray) -> np.ndarray:
        names = (name + "_scale_inv", name + "_scale", name.removesuffix("weight") + "scale")
        scale_name = next((scale for scale in names if scale in self._file_of), None)
        if scale_name is None:
            raise KeyError(f"{self.folder}: {name} is quantized and {name}_scale_inv is missing")
        scales = self._values(scale_name)
        if self._file_of[scale_name].dtype(scale_name) == "U8":
            scales = power_of_two(scales)
        if name + "_global_scale" in self._file_of:
            scales = scales / self._values(name + "_global_scale")
        if name + "_g_idx" in self._file_of:
            return codes * scales[:, self._groups(name + "_g_idx", 0, 0)]
        rows, columns = self.block(name)
        return dequantize_blocks(codes, scales.reshape(scales.shape[0], -1), (rows or codes.shape[0], columns or codes.shape[1]))


def weight_block(group: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns that share a scale, of a config group or a whole quantization_config; 0 columns: all of a row."""
    if "weights" in group:
        weights = group["weights"]
        if weights.get("block_structure"):
            return tuple(weights["block_structure"])
        return int(weights["strategy"] != "tensor"), weights.get("group_size") or 0
    rows, columns = group["whole"].get("weight_block_size") or (128, 128)
    return int(rows), int(columns)


def power_of_two(codes: np.ndarray) -> np.ndarray:
    """The value of ue8m0 codes."""
    return np.where(codes == 255, np.nan, np.ldexp(1.0, codes.astype(np.int32) - 127))


def unpack_words(words: np.ndarray, bits: int) -> np.ndarray:
    """compressed-tensors' pack-quantized: I32 [N, W] -> signed codes [N, 32 W / bits], the lowest bits of a word first."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = words.astype(np.uint32)[:, :, None] >> shifts & np.uint32((1 << bits) - 1)
    return codes.reshape(words.shape[0], -1).astype(np.int64) - (1 << (bits - 1))


def nibbles(words: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """I32 [N, W] -> unsigned codes [N, 8 W], number i of eight in nibble order[i]."""
    shifts = 4 * np.array(order, np.uint32)
    return (words.astype(np.uint32)[:, :, None] >> shifts & np.uint32(15)).reshape(words.shape[0], -1).astype(np.int64)


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
