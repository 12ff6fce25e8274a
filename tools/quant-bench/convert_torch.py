# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What quant-convert does, written in torch as one would: the contender of `quant-bench convert --python`.

convert_torch.py memory THREADS ROWS COLUMNS SECONDS
convert_torch.py cast-fp8|cast-bf16 THREADS INPUT OUTPUT

Prints one JSON object. Shard by shard: load all of it, cast, save, fsync.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch

BLOCK = 128


def to_fp8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and block scales, by DeepSeek's rule."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.view(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).float()
    amax = blocks.abs().amax(dim=(1, 3))
    scale = torch.where(amax == 0, 1.0, amax / 448)
    codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
    return codes.view(padded.shape)[:rows, :columns].contiguous(), scale


def to_bf16(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    rows, columns = codes.shape
    factors = scale.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
    return (codes.float() * factors).bfloat16()


def memory(rows: int, columns: int, seconds: float) -> dict[str, float]:
    weight = torch.randn(rows, columns).bfloat16()
    codes, scale = to_fp8(weight)

    def rate(work: object) -> float:
        times = []
        begin = time.thread_time()  # as quant-bench: what a core takes, on a busy machine, too
        while len(times) < 3 or time.thread_time() - begin < seconds:
            start = time.thread_time()
            work()  # type: ignore[operator]
            times.append(time.thread_time() - start)
        return weight.numel() * 2 / statistics.median(times) / 1e9

    return {"fp8_gb_per_s": rate(lambda: to_fp8(weight)), "bf16_gb_per_s": rate(lambda: to_bf16(codes, scale))}


def cast(to: str, source: Path, target: Path) -> dict[str, float]:
    from safetensors.torch import load_file, save_file

    target.mkdir()
    paths = sorted(source.glob("*.safetensors"))
    for path in paths:
        tensors = load_file(path)
        if to == "cast-bf16":  # `random` keeps a weight and its scale in one shard
            scales = {name.removesuffix("_scale_inv"): tensors.pop(name) for name in list(tensors) if name.endswith("_scale_inv")}
            for name, scale in scales.items():
                tensors[name] = to_bf16(tensors[name], scale)
        else:
            for name in [name for name in tensors if "_proj" in name]:
                tensors[name], tensors[name + "_scale_inv"] = to_fp8(tensors[name])
        save_file(tensors, target / path.name)
    for path in [*(target / path.name for path in paths), target]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return {}


def main() -> None:
    work, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if work == "memory":
        result = memory(int(rest[0]), int(rest[1]), float(rest[2]))
    else:
        result = cast(work, Path(rest[0]), Path(rest[1]))
    print(json.dumps({"torch": torch.__version__} | result))


main()
