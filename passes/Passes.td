//===- Passes.td - the target-free passes -----------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES
#define QUANT_PASSES

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// fuse/: model -> fused
//===----------------------------------------------------------------------===//

def FuseDequantize : Pass<"qblock-fuse-dequantize", "::mlir::func::FuncOp"> {
  let summary = "folds dequantize into the matmuls and attention ops that use it";
  let description = [{
    A weight that is dequantized and multiplied is read as codes instead: the op takes the block-scaled value itself. Looks
    through floating-point casts, through transposes (the codes and scales are transposed instead) and through reshapes
    that add or drop unit dimensions; all of these keep blocks whole. Where a dequantize stays because something else
    stands between, a remark says what.

    ```
    quant-opt --qblock-fuse-dequantize mlp.mlir
    ```
  }];
  let statistics = [Statistic<"fused", "fused", "weights that are read as codes">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::tensor::TensorDialect", "::mlir::linalg::LinalgDialect"];
}

def DecomposeMla : Pass<"deepseek-decompose-mla", "::mlir::func::FuncOp"> {
  let summary = "rewrites mla_attention to its absorbed form";
  let description = [{
    `latent_append`, `mla_absorb`, `mla_core`, `mla_expand`: keys and values are never formed, the cache stays latent. With
    `tensor-cores` attention that their kernel computes (bf16 cache, latents of 512, rope parts of 64) is `mla_decode` on complete
    queries in bf16 instead of `mla_core`.

    ```
    quant-opt --deepseek-decompose-mla=tensor-cores=true attention.mlir
    ```
  }];
  let options = [Option<"tensorCores", "tensor-cores", "bool", "false", "the target has attention on tensor cores">];
  let dependentDialects = ["::quant::deepseek::DeepSeekDialect"];
}

def DecomposeExperts : Pass<"deepseek-decompose-experts", "::mlir::func::FuncOp"> {
  let summary = "rewrites experts to dispatch, grouped matmuls, swiglu and combine";
  let description = [{
    gate and up become one grouped matmul where their blocks can be joined.

    ```
    quant-opt --deepseek-decompose-experts experts.mlir
    ```
  }];
  let dependentDialects = ["::quant::deepseek::DeepSeekDialect", "::quant::qblock::QBlockDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::arith::ArithDialect"];
}

def MergeProjections : Pass<"qblock-merge-projections", "::mlir::func::FuncOp"> {
  let summary = "makes one matmul of those that share their input";
  let description = [{
    gate|up and q_a|kv_a read the same activations: one matmul over the joined rows (`qblock.concat`, which moves nothing)
    has twice the parallelism and quantizes its input once. Only weights of one scheme are joined; one whose rows do not end
    on a block's edge goes last.

    ```
    quant-opt --qblock-merge-projections mlp.mlir
    ```
  }];
  let statistics = [Statistic<"merged", "merged", "matmuls that were joined to another">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::tensor::TensorDialect", "::mlir::arith::ArithDialect"];
}

def QuantizeActivations : Pass<"qblock-quantize-activations", "::mlir::func::FuncOp"> {
  let summary = "quantizes the inputs of matmuls online";
  let description = [{
    The input of each matmul whose weight is FP8 is quantized per token and group of K (the weight's block along K, 128). With
    `storage=i8` that of each matmul whose weight is of integers with one scale a row and no zero point (of the schemes that are
    compiled: compressed-tensors' W8A8), with one scale for each token. `groups` takes weights, too, whose scales are of groups of
    a single row (W4A8).

    ```
    quant-opt --qblock-quantize-activations="scale-format=ue8m0" mlp.mlir
    ```
  }];
  let options = [Option<"scaleFormat", "scale-format", "std::string", /*default=*/"\"f32\"",
                        "f32, or ue8m0: rounded up to powers of two, stored as f32">,
                 Option<"resultType", "result-type", "std::string", /*default=*/"\"f32\"",
                        "what the matmuls give: f32, or bf16">,
                 Option<"scaleLayout", "scale-layout", "std::string", /*default=*/"\"row_major\"",
                        "how the scales lie: row_major, or k_major as the tensor cores' kernels read them">,
                 Option<"storage", "storage", "std::string", /*default=*/"\"f8E4M3FN\"", "of what: f8E4M3FN or i8">,
                 Option<"groups", "groups", "bool", /*default=*/"false",
                        "with storage=i8: of weights whose scales are of groups of a row, too">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::arith::ArithDialect"];
}

def RoundActivations : Pass<"qblock-round-activations", "::mlir::func::FuncOp"> {
  let summary = "rounds the inputs of matmuls by bf16 weights to bf16";
  let description = [{
    For tensor cores that multiply bf16 by bf16 (`checkGemm`); where they cannot, for rows that do not begin at multiples of 16 bytes
    say, x stays f32. Sums and results stay f32. The same of `mla_absorb` and `mla_expand`, by `kv_b`.

    ```
    quant-opt --qblock-round-activations mlp.mlir
    ```
  }];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::arith::ArithDialect"];
}

def FuseQuantize : Pass<"qblock-fuse-quantize", "::mlir::func::FuncOp"> {
  let summary = "lets rms_norm and swiglu quantize their own result";
  let description = [{
    A row is quantized while it is still in registers. The floating-point result stays for other users.

    ```
    quant-opt --qblock-quantize-activations --qblock-fuse-quantize mlp.mlir
    ```
  }];
  let statistics = [Statistic<"fused", "fused", "quantizations that their producer does">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::quant::deepseek::DeepSeekDialect"];
}

def GatherRows : Pass<"qblock-gather-rows", "::mlir::func::FuncOp"> {
  let summary = "puts the rows of quantized grouped matmuls where they are read";
  let description = [{
    `grouped_matmul(x) gather(rows)` becomes `grouped_matmul(gather_rows(x, rows))` where x is quantized, for targets whose grouped
    matmuls read boxes of neighbouring rows (TMA has no gather on sm_90a). Matmuls that share x and rows share the copy.

    ```
    quant-opt --deepseek-decompose-experts --qblock-quantize-activations --qblock-gather-rows model.mlir
    ```
  }];
  let statistics = [Statistic<"gathered", "gathered", "grouped matmuls whose rows are copied before">];
  let dependentDialects = ["::quant::qblock::QBlockDialect"];
}

def FuseSwiglu : Pass<"qblock-fuse-swiglu", "::mlir::func::FuncOp"> {
  let summary = "experts' gate|up, SwiGLU and quantization as one op";
  let description = [{
    `swiglu(gate, up)` whose quantized result alone is used becomes `grouped_swiglu`, where gate and up are the halves of a grouped
    matmul's bf16 result and the tensor cores have such a kernel (`checkGemm`): the products never go to memory.

    ```
    quant-opt --stage-fused=target=sm_90a model.mlir
    ```
  }];
  let statistics = [Statistic<"fused", "fused", "grouped matmuls that give quantized rows">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::quant::deepseek::DeepSeekDialect"];
}

def DequantizeActivations : Pass<"qblock-dequantize-activations", "::mlir::func::FuncOp"> {
  let summary = "gives FP8 matmuls floating-point inputs, for targets without FP8 units";
  let description = [{
    `matmul(quantize(x), w)` becomes `matmul(dequantize(quantize(x)), w)`: the same numbers, computed in f32. This is how the
    host runs `--activations=fp8`.

    ```
    quant-opt --qblock-quantize-activations --qblock-dequantize-activations mlp.mlir
    ```
  }];
  let dependentDialects = ["::quant::qblock::QBlockDialect"];
}

//===----------------------------------------------------------------------===//
// dispatch/: fused -> dispatched
//===----------------------------------------------------------------------===//

def OutlineDispatches : Pass<"program-outline-dispatches", "::mlir::ModuleOp"> {
  let summary = "makes kernels of the ops and a list of dispatches of the model";
  let description = [{
    Each op that computes becomes a kernel, a private function with its grid; ops that only look at data (`assemble`,
    `concat`, slices) go into the kernels that use them. Equal kernels are one: layers of one kind share their code.

    ```
    quant-opt --program-outline-dispatches fused.mlir
    ```
  }];
  let statistics = [Statistic<"dispatches", "dispatches", "dispatches in the program">,
                    Statistic<"kernels", "kernels", "different kernels">];
  let dependentDialects = ["::quant::program::ProgramDialect", "::mlir::func::FuncDialect"];
}

def PlanMemory : Pass<"program-plan-memory", "::mlir::ModuleOp"> {
  let summary = "gives every intermediate its place in one workspace";
  let description = [{
    Lifetimes are known, the program being a straight line: the largest value first, each at the lowest offset that is free
    while it lives. Sizes are those at `max-tokens`, the largest number of tokens of one call (longer prompts go in chunks).

    ```
    quant-opt --program-plan-memory="max-tokens=256" dispatched.mlir
    ```
  }];
  let options = [Option<"maxTokens", "max-tokens", "int64_t", /*default=*/"256", "tokens of one call at most">];
  let dependentDialects = ["::quant::program::ProgramDialect"];
}

//===----------------------------------------------------------------------===//
// schedule/: dispatched -> scheduled
//===----------------------------------------------------------------------===//

def ScheduleKernels : Pass<"program-schedule", "::mlir::ModuleOp"> {
  let summary = "writes on each kernel how it runs, and why";
  let description = [{
    `#program.schedule` from the machine's table (dialects/machine) and the cost model (passes/schedule/CostModel.h): the unit that
    computes, the tile, what else the unit can be told, the reason, and what came second. A matmul on tensor cores may get
    several, each for a range of M. A matmul or attention op that does not get the tensor cores says why, in a remark, too.

    Tiling and lowering obey the attribute: edit it in the printed IR, resume, and the kernel is another one.

    ```
    quant-opt --stage=scheduled --stage-options=target=sm_90a model.mlir
    ```
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"host\"", "host or sm_90a">,
                 Option<"unit", "unit", "std::string", /*default=*/"std::string(machine::kDefaultX86Unit)",
                        "for the host: a unit of dialects/machine/X86.cpp">,
                 Option<"roundInputs", "round-inputs", "bool", /*default=*/"false",
                        "for the host: round x to bf16 where the unit has dot products of those">,
                 Option<"gpu", "gpu", "std::string", /*default=*/"\"h200\"",
                        "for sm_90a: the GPU whose figures count: h100, h200, h800; the code runs on each of them">,
                 Option<"maxKernels", "max-kernels", "int64_t", /*default=*/"4",
                        "different kernels of one matmul, of which the number of rows picks one">];
  let statistics = [Statistic<"scheduled", "scheduled", "kernels that got a schedule">];
  let dependentDialects = ["::quant::program::ProgramDialect"];
}

//===----------------------------------------------------------------------===//
// tile/: scheduled -> tiled
//===----------------------------------------------------------------------===//

def TileMatmuls : Pass<"qblock-tile-matmuls", "::mlir::func::FuncOp"> {
  let summary = "cuts matmul kernels into the tiles of their schedule";
  let description = [{
    An `scf.forall` over the tiles of the result, which becomes the kernel's grid (its first dimension counts fastest), and an
    `scf.for` along K where the tile does not take all of it. Sizes are those of the kernel's `#program.schedule`, 0 leaves a
    dimension whole; a kernel whose schedule names no tile is left alone. In a function without a schedule the options say the
    sizes. A grouped matmul has a tile for each group and N columns, with all rows of the group.

    ```
    quant-opt --qblock-tile-matmuls="block-m=128 block-n=128 block-k=128" kernels.mlir
    ```
  }];
  let options = [Option<"blockM", "block-m", "int64_t", /*default=*/"0", "rows of a tile, 0 for all">,
                 Option<"blockN", "block-n", "int64_t", /*default=*/"128", "columns of a tile">,
                 Option<"blockK", "block-k", "int64_t", /*default=*/"128", "step along K">];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::arith::ArithDialect", "::mlir::affine::AffineDialect"];
}

//===----------------------------------------------------------------------===//
// decompose/: what each op means
//===----------------------------------------------------------------------===//

def DecomposeOps : Pass<"deepseek-decompose", "::mlir::func::FuncOp"> {
  let summary = "rewrites the model's ops to their definitions in upstream dialects";
  let description = [{
    Each op of `deepseek`, and `qblock.quantize` and `dequantize` of f8E4M3FN, becomes what its description says, row by row and
    element by element, in upstream dialects; no stage uses it. Ops with a row program are written out from that very text, which
    all targets map to their code: test/reference/test_decompositions.py runs what is made here and compares with NumPy.
    `mla_attention` and `experts` have passes of their own that rewrite them to smaller ops first.

    ```
    quant-opt --deepseek-decompose-mla --deepseek-decompose-experts --deepseek-decompose attention.mlir
    ```
  }];
  let dependentDialects = ["::quant::qblock::QBlockDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::bufferization::BufferizationDialect", "::mlir::vector::VectorDialect"];
}

//===----------------------------------------------------------------------===//
// verify/: what holds at the end of each stage
//===----------------------------------------------------------------------===//

def VerifyStage : Pass<"verify-stage", "::mlir::ModuleOp"> {
  let summary = "checks what must hold at the end of a stage, and marks the module with its name";
  let description = [{
    - `model`: one public function, `forward`.
    - `fused`: no matmul or attention op reads a dequantized weight; `mla_attention` and `experts` are gone.
    - `dispatched`: `forward` holds weights, caches and dispatches only, each kernel has a grid, each result a place.
    - `scheduled`: each kernel has a schedule.
    - `tiled`: no `qblock.matmul` is left: each is cut into the tiles of its schedule.
    - `target`: no op of `qblock` or `deepseek` is left in a kernel that the target supports.

    ```
    quant-opt --verify-stage="name=fused" fused.mlir
    ```
  }];
  let options = [Option<"name", "name", "std::string", /*default=*/"\"model\"", "the stage">];
}

#endif // QUANT_PASSES
