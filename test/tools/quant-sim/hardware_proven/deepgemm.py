"""Writes what DeepGEMM's dense sm_90 FP8 kernel needs to run in the simulator.

deepgemm.py source CONFIG           the .cu that instantiates the kernel
deepgemm.py recipe CONFIG PTX       its launch recipe (JSON), as csrc/jit_kernels/impls/sm90_fp8_gemm_1d2d.hpp launches it

CONFIG: n=576,k=7168,bm=128,bn=128,swizzle=128,stages=5,math=256,multicast=1,on_a=0,sms=4
"""

import json
import re
import sys


def ceil_div(a, b):
    return -(-a // b)


def align(a, b):
    return ceil_div(a, b) * b


def source(c):
    arguments = (
        f"cute::UMMA::Major::K, 0, {c['n']}, {c['k']}, 1, {c['bm']}, {c['bn']}, 128, 128, 128, {c['swizzle']}, {c['stages']}, "
        f"128, {c['math']}, {c['multicast']}, {'true' if c['on_a'] else 'false'}, {c['sms']}, GemmType::Normal, "
        "cutlass::bfloat16_t, epilogue::transform::EpilogueIdentity"
    )
    return (
        "#include <deep_gemm/impls/sm90_fp8_gemm_1d2d.cuh>\nusing namespace deep_gemm;\n"
        f"static void instantiate() {{ auto p = reinterpret_cast<void *>(&sm90_fp8_gemm_1d2d_impl<{arguments}>); (void)p; }}\n"
    )


def shared_bytes(c):
    """csrc/jit_kernels/heuristics/sm90.hpp: D, the stages of A, B and A's scales, B's scales, two barriers a stage."""
    per_stage = c["bm"] * 128 + c["bn"] * 128 + align(c["bm"] * 4, 128)
    scales = align(ceil_div(c["k"], 128) * (1 if 128 % c["bn"] == 0 else 2) * 4, 8)
    return align(c["bm"] * c["bn"] * 2, 1024) + c["stages"] * (per_stage + 16) + scales


def tensor_map(operand, data_type, dim, stride, box, swizzle):
    swizzle = f"{swizzle}B" if swizzle else "none"
    return {"kind": "tensor_map", "operand": operand, "data_type": data_type, "dim": dim, "stride_bytes": [stride], "box": box,
            "swizzle": swizzle, "l2_promotion": "256B"}  # fmt: skip


def recipe(c, ptx):
    n, k, bm, bn = c["n"], c["k"], c["bm"], c["bn"]
    k_blocks, padded_m = ceil_div(k, 128), ["*", 4, ["ceildiv", "M", 4]]
    operands = [("a", "f8E4M3FN", "read", ["M", k]), ("scale_a", "f32", "read", [k_blocks, padded_m]),
                ("b", "f8E4M3FN", "read", [n, k]), ("scale_b", "f32", "read", [ceil_div(n, 128), k_blocks]),
                ("d", "bf16", "write", ["M", n])]  # fmt: skip
    return {
        "format": 1,
        "kernel": re.search(r"\.entry (\w+)\(", ptx).group(1),
        "block": [128 + c["math"], 1, 1],
        "cluster": [c["multicast"], 1, 1],
        "grid": c["sms"],
        "dynamic_shared_bytes": shared_bytes(c),
        "limits": {},
        "operands": [dict(zip(("name", "dtype", "access", "shape"), operand)) for operand in operands],
        "parameters": [
            {"kind": "pointer", "operand": 3},
            {"kind": "i64", "value": 0},
            {"kind": "i32", "value": "M"},
            {"kind": "i32", "value": n},
            {"kind": "i32", "value": k},
            tensor_map(0, "UINT8", [k, "M"], k, [128, bm], 128),
            tensor_map(2, "UINT8", [k, n], k, [128, bn], 128),
            tensor_map(4, "BFLOAT16", [n, "M"], 2 * n, [c["swizzle"] // 2 or bn, bm], c["swizzle"]),
            tensor_map(1, "FLOAT32", [padded_m, k_blocks], ["*", 16, ["ceildiv", "M", 4]], [bm, 1], 0),
        ],
    }


if __name__ == "__main__":
    config = {key: int(value) for key, value in (item.split("=") for item in sys.argv[2].split(","))}
    if sys.argv[1] == "source":
        print(source(config))
    else:
        with open(sys.argv[3], encoding="utf-8") as ptx_file:
            print(json.dumps(recipe(config, ptx_file.read())))
