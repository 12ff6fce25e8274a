# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The few calls of the CUDA driver that launching a kernel takes, through ctypes: no toolkit, no compiled code.

libcuda.so.1 may also be test/gpu/SimCuda.cpp, which runs the kernels in the simulator.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

ATTRIBUTE_SMS, ATTRIBUTE_L2_BYTES, ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR = 16, 38, 75, 76
FUNCTION_MAX_DYNAMIC_SHARED, HOST_REGISTER_READ_ONLY = 8, 8
#: CUlaunchAttributeID: the cluster's size, and that the launch need not wait for the end of the kernel before it on the stream.
LAUNCH_ATTRIBUTE_CLUSTER, LAUNCH_ATTRIBUTE_PROGRAMMATIC = 4, 6


class NoGpu(Exception):
    """This machine cannot run the kernels, and why."""


class DriverError(Exception):
    """A call of the driver failed."""


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute: an id, padding to 8 bytes, a union of 64 bytes."""

    _fields_ = [("id", c_int), ("pad", ctypes.c_char * 4), ("value", c_uint * 16)]


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [("grid", c_uint * 3), ("block", c_uint * 3), ("shared_bytes", c_uint), ("stream", c_void_p),
                ("attributes", ctypes.POINTER(LaunchAttribute)), ("attribute_count", c_uint)]  # fmt: skip


def aligned_buffer(size: int, alignment: int) -> tuple[Any, int]:
    """Zeroed memory, and the address in it that is so aligned; the first must be kept alive."""
    memory = ctypes.create_string_buffer(size + alignment)
    return memory, (ctypes.addressof(memory) + alignment - 1) // alignment * alignment


class Driver:
    """An initialised driver with the primary context of GPU 0 current. Raises NoGpu."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise NoGpu(f"no CUDA driver: {error}") from error
        if self.library.cuInit(0) != 0 or self._int("cuDeviceGetCount") == 0:
            raise NoGpu("the CUDA driver sees no GPU")
        self.device = c_int()
        self.call("cuDeviceGet", ctypes.byref(self.device), 0)
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, 255, self.device)
        self.name = text.value.decode()
        if (self.attribute(ATTRIBUTE_MAJOR), self.attribute(ATTRIBUTE_MINOR)) != (9, 0):
            raise NoGpu(f"{self.name} is no sm_90 GPU (H100, H200)")
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self.call("cuCtxSetCurrent", context)
        self.version = self._int("cuDriverGetVersion")
        self.sms = self.attribute(ATTRIBUTE_SMS)
        self.l2_bytes = self.attribute(ATTRIBUTE_L2_BYTES)
        self.simulated = hasattr(self.library, "simCudaFindings")
        #: What cuModuleLoadData answered to the images that were not taken.
        self.refused: list[str] = []

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.library, function)(*arguments)
        if status == 0:
            return
        detail = f": {self.findings()}" if getattr(self, "simulated", False) else ""
        raise DriverError(f"{function} failed: {self.error_name(status)}{detail}")

    def error_name(self, status: int) -> str:
        name = c_char_p()
        self.library.cuGetErrorName(status, ctypes.byref(name))
        return name.value.decode() if name.value else str(status)

    def _int(self, function: str) -> int:
        value = c_int()
        self.call(function, ctypes.byref(value))
        return value.value

    def attribute(self, which: int) -> int:
        value = c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), which, self.device)
        return value.value

    def pci_bus_id(self) -> str:
        text = ctypes.create_string_buffer(32)
        self.call("cuDeviceGetPCIBusId", text, 32, self.device)
        return text.value.decode()

    def synchronize(self) -> None:
        self.call("cuCtxSynchronize")

    def findings(self) -> str:
        """What the simulator said against the kernels so far; a GPU says nothing."""
        if not self.simulated:
            return ""
        self.library.simCudaFindings.restype = c_char_p
        return self.library.simCudaFindings().decode()

    # --- Memory ---

    def register(self, address: int, size: int, constant: bool = False) -> None:
        """Memory of this process that the simulator may touch; a programmatic launch reads constants early."""
        self.call("cuMemHostRegister_v2", c_void_p(address), c_size_t(size), c_uint(HOST_REGISTER_READ_ONLY if constant else 0))

    def unregister(self, address: int) -> None:
        self.call("cuMemHostUnregister", c_void_p(address))

    # --- Kernels ---

    def load(self, image: bytes) -> c_void_p | None:
        """A module of a cubin or PTX; None if the driver does not take it (`refused` says why)."""
        module = c_void_p()
        status = self.library.cuModuleLoadData(ctypes.byref(module), ctypes.create_string_buffer(image))
        if status != 0:
            self.refused.append(self.error_name(status))
            return None
        return module

    def function(self, module: c_void_p, name: str, shared_bytes: int) -> c_void_p:
        function = c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        self.call("cuFuncSetAttribute", function, FUNCTION_MAX_DYNAMIC_SHARED, shared_bytes)
        return function

    def tensor_map(self, data_type: int, address: int, dim: list[int], stride_bytes: list[int], box: list[int], swizzle: int,
                   l2_promotion: int) -> tuple[Any, int]:  # fmt: skip
        """A CUtensorMap of 128 bytes, 128-byte aligned: the memory to keep, and its address."""
        rank = len(dim)
        memory, at = aligned_buffer(128, 128)
        self.call("cuTensorMapEncodeTiled", c_void_p(at), data_type, c_uint32(rank), c_void_p(address),
                  (c_uint64 * rank)(*dim), (c_uint64 * max(1, rank - 1))(*stride_bytes), (c_uint32 * rank)(*box),
                  (c_uint32 * rank)(*[1] * rank), 0, swizzle, l2_promotion, 0)  # fmt: skip
        return memory, at

    def launch(self, function: c_void_p, grid: int, block: list[int], cluster: list[int], shared_bytes: int, parameters: Any,
               stream: int, programmatic: bool = False) -> None:  # fmt: skip
        """`programmatic`: the kernel may start while the one before it on the stream still runs. Parameters are copied."""
        attributes, count = (LaunchAttribute * 2)(), 0
        if cluster != [1, 1, 1]:
            attributes[count].id = LAUNCH_ATTRIBUTE_CLUSTER
            attributes[count].value[:3] = cluster
            count += 1
        if programmatic:
            attributes[count].id = LAUNCH_ATTRIBUTE_PROGRAMMATIC
            attributes[count].value[0] = 1
            count += 1
        config = LaunchConfig((grid, 1, 1), tuple(block), shared_bytes, stream or None, attributes if count else None, count)
        self.call("cuLaunchKernelEx", ctypes.byref(config), function, parameters, None)
