// A kernel in the simulator, on generated inputs, against a reference: `%sim-check KERNEL.ptx --recipe KERNEL.json --m ROWS`.
// DEFINE: %{kernel} = %source/test/tools/quant-sim/ptx/sm90_fp8_gemm_1d2d_n256_k144_bm128_bn128
// RUN: %sim-check %{kernel}.ptx --recipe %{kernel}.json --m 7 | FileCheck %s
// CHECK: 7x256x144: 1792 elements compared, largest error 0.{{[0-9]+}} of the tolerance; 0 findings

// What is wrong with a kernel, it says: here nothing waits for the wgmmas.
// RUN: sed "s/wgmma.wait_group.sync.aligned 0;//" %{kernel}.ptx > %t.ptx
// RUN: not %sim-check %t.ptx --recipe %{kernel}.json --m 7 | FileCheck %s --check-prefix=FAULT
// FAULT: accumulator-in-flight: a register that a wgmma of group 1 still uses
// FAULT-NEXT: at line
