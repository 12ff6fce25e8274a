# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the GPU's management library says of clocks and power, through ctypes. Figures that it does not give are left out."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_uint, c_ulonglong, c_void_p

CLOCK_SM, CLOCK_MEMORY, TEMPERATURE_GPU = 1, 2, 0
#: nvmlClocksThrottleReason*: what holds the clock down.
REASONS = {0x4: "software power cap", 0x8: "hardware slowdown", 0x20: "software thermal slowdown",
           0x40: "hardware thermal slowdown", 0x80: "hardware power brake"}  # fmt: skip


class Nvml:
    """The GPU at a PCI address; where the library does not know it, figures() is empty."""

    def __init__(self, pci_bus_id: str) -> None:
        self.device: c_void_p | None = None
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
            device = c_void_p()
            if (
                self.library.nvmlInit_v2() == 0
                and self.library.nvmlDeviceGetHandleByPciBusId_v2(pci_bus_id.encode(), byref(device)) == 0
            ):
                self.device = device
        except (OSError, AttributeError):
            pass

    def _ask(self, function: str, *arguments: int, kind: type = c_uint) -> int | None:
        value = kind()
        try:
            status = getattr(self.library, function)(self.device, *arguments, byref(value))
        except AttributeError:
            return None
        return value.value if status == 0 else None

    def driver_release(self) -> str:
        text = ctypes.create_string_buffer(96)
        known = self.device is not None and self.library.nvmlSystemGetDriverVersion(text, c_uint(96)) == 0
        return text.value.decode() if known else "?"

    def limits(self) -> dict[str, float]:
        """The highest clocks and the power limit."""
        if self.device is None:
            return {}
        watts = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        found = {"max_sm_mhz": self._ask("nvmlDeviceGetMaxClockInfo", CLOCK_SM),
                 "max_memory_mhz": self._ask("nvmlDeviceGetMaxClockInfo", CLOCK_MEMORY),
                 "limit_watts": None if watts is None else watts / 1000}  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def figures(self) -> dict[str, object]:
        """Clocks, power and temperature at this moment, and what holds the clock down."""
        if self.device is None:
            return {}
        watts = self._ask("nvmlDeviceGetPowerUsage")
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", kind=c_ulonglong)
        found = {"sm_mhz": self._ask("nvmlDeviceGetClockInfo", CLOCK_SM),
                 "memory_mhz": self._ask("nvmlDeviceGetClockInfo", CLOCK_MEMORY),
                 "watts": None if watts is None else watts / 1000,
                 "celsius": self._ask("nvmlDeviceGetTemperature", TEMPERATURE_GPU),
                 "held_by": [name for bit, name in REASONS.items() if reasons and reasons & bit] or None}  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}
