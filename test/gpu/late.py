# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A kernel that lets the next one start at once and writes that one's operands only later.

What a programmatic launch behind it does not wait for, it finds unwritten; `peek` is one that does not wait.
"""

from __future__ import annotations

import ctypes
import functools

from driver import Driver

#: One block each, so that it leaves the other multiprocessors to the kernel behind it, which may need all registers of one.
THREADS = 1024
#: Longer than launching the kernel behind it takes from Python.
NANOSECONDS = 300_000

PTX = """
.version 8.0
.target sm_90
.address_size 64

.visible .entry late_copy(.param .u64 table, .param .u64 nanoseconds)
.maxntid 1024, 1, 1
{
  .reg .pred %p<2>;
  .reg .b32 %r<3>;
  .reg .b64 %rd<10>;

  griddepcontrol.launch_dependents;
  ld.param.u64 %rd0, [nanoseconds];
  mov.u64 %rd1, %globaltimer;
  add.u64 %rd0, %rd0, %rd1;
WAIT:
  mov.u64 %rd1, %globaltimer;
  setp.lt.u64 %p0, %rd1, %rd0;
  @%p0 bra WAIT;

  // table[block]: to, from, 4-byte words.
  ld.param.u64 %rd2, [table];
  mov.u32 %r0, %ctaid.x;
  mad.wide.u32 %rd2, %r0, 24, %rd2;
  ld.global.u64 %rd3, [%rd2];
  ld.global.u64 %rd4, [%rd2+8];
  ld.global.u64 %rd5, [%rd2+16];
  mov.u32 %r1, %tid.x;
  cvt.u64.u32 %rd6, %r1;
COPY:
  setp.ge.u64 %p1, %rd6, %rd5;
  @%p1 bra DONE;
  shl.b64 %rd7, %rd6, 2;
  add.u64 %rd8, %rd4, %rd7;
  add.u64 %rd9, %rd3, %rd7;
  ld.global.u32 %r2, [%rd8];
  st.global.u32 [%rd9], %r2;
  add.u64 %rd6, %rd6, 1024;
  bra COPY;
DONE:
  ret;
}

.visible .entry peek(.param .u64 from, .param .u64 to)
{
  .reg .b32 %r<1>;
  .reg .b64 %rd<2>;

  ld.param.u64 %rd0, [from];
  ld.param.u64 %rd1, [to];
  ld.global.u32 %r0, [%rd0];
  st.global.u32 [%rd1], %r0;
  ret;
}
"""


class NoLateCopy(Exception):
    """The driver does not compile PTX."""


class LateCopy:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        module = driver.load(PTX.encode() + b"\0")
        if module is None:
            raise NoLateCopy(f"the driver does not take late.py's PTX: {driver.refused[-1]} {driver.findings()}")
        self.copier, self.peeker = (driver.function(module, name, 0) for name in ("late_copy", "peek"))

    def launch(self, table: int, count: int, stream: int) -> None:
        """`table`: the address of `count` rows of three 64-bit integers: to, from, 4-byte words."""
        self._launch(self.copier, count, THREADS, (table, 0 if self.driver.simulated else NANOSECONDS), stream, False)

    def peek(self, source: int, target: int, stream: int) -> None:
        """Copies 4 bytes without waiting for the kernel in front."""
        self._launch(self.peeker, 1, 1, (source, target), stream, True)

    def _launch(self, function: ctypes.c_void_p, grid: int, threads: int, numbers: tuple[int, int], stream: int,
                programmatic: bool) -> None:  # fmt: skip
        values = [ctypes.c_uint64(number) for number in numbers]
        parameters = (ctypes.c_void_p * 2)(*(ctypes.addressof(value) for value in values))
        self.driver.launch(function, grid, [threads, 1, 1], [1, 1, 1], 0, parameters, stream, programmatic)


@functools.cache
def late_copy(driver: Driver) -> LateCopy:
    return LateCopy(driver)
