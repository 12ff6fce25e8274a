# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loads and launches a kernel by its launch recipe (runtime/abi/launch_recipe.h).

Nothing here knows what a kernel computes: tensor maps, parameters, grid and shared memory all come from the recipe.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driver import Driver, DriverError

Dims = dict[str, int]
ELEMENT_BYTES = {"f8E4M3FN": 1, "i8": 1, "bf16": 2, "f16": 2, "f32": 4, "i32": 4}
#: CUtensorMapDataType, CUtensorMapSwizzle, CUtensorMapL2promotion.
DATA_TYPE = {"UINT8": 0, "UINT16": 1, "UINT32": 2, "INT32": 3, "FLOAT16": 6, "FLOAT32": 7, "BFLOAT16": 9}
SWIZZLE = {"none": 0, "32B": 1, "64B": 2, "128B": 3}
L2_PROMOTION = {"none": 0, "64B": 1, "128B": 2, "256B": 3}


def evaluate(expression: Any, dims: Dims) -> int:
    """128, "M", ["*" | "+" | "min" | "ceildiv", a, b, ...]."""
    if isinstance(expression, str):
        return dims[expression]
    if isinstance(expression, int):
        return expression
    operator, *operands = expression
    value, *rest = (evaluate(operand, dims) for operand in operands)
    for other in rest:
        if operator == "*":
            value *= other
        elif operator == "+":
            value += other
        elif operator == "min":
            value = min(value, other)
        elif operator == "ceildiv":
            value = -(-value // other)
        else:
            raise ValueError(f"the recipe has an unknown operator {operator}")
    return value


@dataclass
class Operand:
    """An operand for given dims. Rows lie `pitch` bytes apart; a row is the innermost dimension."""

    name: str
    dtype: str
    access: str
    scratch: bool
    zeroed: bool
    #: A constant: a programmatic launch reads it while the kernel before it still runs.
    early: bool
    shape: list[int]
    pitch: int

    @property
    def rows(self) -> int:
        rows = 1
        for size in self.shape[:-1]:
            rows *= size
        return rows

    @property
    def row_bytes(self) -> int:
        return (self.shape[-1] if self.shape else 1) * ELEMENT_BYTES[self.dtype]

    @property
    def bytes(self) -> int:
        return self.rows * self.pitch


@dataclass
class Arguments:
    """Kernel parameters, and the memory that they live in."""

    pointers: Any = None
    alive: list[Any] = field(default_factory=list)


class Kernel:
    """A loaded kernel: NAME.cubin or, where there is none or the driver does not take it, NAME.ptx, next to NAME.json."""

    def __init__(self, driver: Driver, path: Path) -> None:
        self.driver = driver
        self.path = path
        self.recipe = json.loads(path.read_text())
        self.name: str = self.recipe["kernel"]
        self.config: dict[str, int] = self.recipe["config"]
        #: It may be launched programmatically: it waits for the kernel before it by itself.
        self.programmatic: bool = self.recipe.get("programmatic", False)
        #: The run-time sizes beside M, where the recipe has others: {"sequences": 3, "context": 640}.
        self.sizes: Dims = {}
        self.module, self.from_ptx = self._load(path)
        self.function = driver.function(self.module, self.name, self.recipe["dynamic_shared_bytes"])

    def _load(self, path: Path) -> tuple[Any, bool]:
        for suffix in (".cubin", ".ptx"):
            file = path.with_suffix(suffix)
            if file.exists() and (module := self.driver.load(file.read_bytes() + b"\0")):
                return module, suffix == ".ptx"
        raise DriverError(f"{self.name}: the driver takes neither {path.stem}.cubin nor .ptx "
                          f"({', '.join(self.driver.refused[-2:])}) {self.driver.findings()}")  # fmt: skip

    def dims(self, m: int) -> Dims:
        return {"M": m, "sms": self.driver.sms, **self.sizes}

    def operands(self, m: int) -> list[Operand]:
        result = []
        for operand in self.recipe["operands"]:
            shape = [evaluate(size, self.dims(m)) for size in operand["shape"]]
            row = (shape[-1] if shape else 1) * ELEMENT_BYTES[operand["dtype"]]
            result.append(Operand(operand["name"], operand["dtype"], operand["access"], operand.get("scratch", False),
                                  operand.get("initial") == "zero", operand.get("early", False), shape,
                                  operand.get("pitch_bytes", 0) or row))  # fmt: skip
        return result

    def grid(self, m: int) -> int:
        return evaluate(self.recipe["grid"], self.dims(m))

    def prepare(self, addresses: list[int], m: int) -> Arguments:
        """Parameters for operands at these addresses, in the recipe's order; the grid must not be 0."""
        arguments = Arguments()
        places = []
        for parameter in self.recipe["parameters"]:
            places.append(self._place(parameter, addresses, m, arguments.alive))
        arguments.pointers = (ctypes.c_void_p * len(places))(*places)
        return arguments

    def _place(self, parameter: dict[str, Any], addresses: list[int], m: int, alive: list[Any]) -> int:
        """The address of one parameter's value."""
        kind, dims, offset = parameter["kind"], self.dims(m), parameter.get("offset_bytes", 0)
        value: Any
        if kind == "tensor_map":
            memory, at = self.driver.tensor_map(
                DATA_TYPE[parameter["data_type"]], addresses[parameter["operand"]] + offset,
                [evaluate(size, dims) for size in parameter["dim"]], [evaluate(size, dims) for size in parameter["stride_bytes"]],
                parameter["box"], SWIZZLE[parameter["swizzle"]], L2_PROMOTION[parameter["l2_promotion"]])  # fmt: skip
            alive.append(memory)
            return at
        if kind == "pointer":
            value = ctypes.c_uint64(addresses[parameter["operand"]] + offset)
        elif kind == "i32":
            value = ctypes.c_int32(evaluate(parameter["value"], dims))
        else:
            raise ValueError(f"{self.name}: the recipe has an unknown parameter kind {kind}")
        alive.append(value)
        return ctypes.addressof(value)

    def launch(self, arguments: Arguments, m: int, stream: int = 0, programmatic: bool = False) -> None:
        if grid := self.grid(m):
            self.driver.launch(self.function, grid, self.recipe["block"], self.recipe["cluster"],
                               self.recipe["dynamic_shared_bytes"], arguments.pointers, stream, programmatic)  # fmt: skip
