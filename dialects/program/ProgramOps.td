//===- ProgramOps.td - the compiled model -----------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PROGRAM_OPS
#define QUANT_PROGRAM_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Program_Dialect : Dialect {
  let name = "program";
  let cppNamespace = "::quant::program";
  let summary = "The compiled model: a straight line of kernel dispatches over named values";
  let description = [{
    A program is data, a kernel is code. The program (`func.func @forward`, and `@draft` for an MTP layer) names its weights as the checkpoint does, owns the
    KV caches, and is a list of dispatches; `lowering/module` prints it as JSON (docs/module-format.md). The same ops carry
    the model through every stage: `weight`, `weight_group` and `cache` stand there from the `model` stage on, `dispatch`
    from the `dispatched` stage on.

    Attributes of the dialect, all verified; another `program.` attribute is an error:

    | on | attribute | meaning |
    |---|---|---|
    | an argument or result | `program.dim = #program.dim<tokens>` | which run-time size a dynamic leading dimension is |
    | an argument or result of the program | `program.name = "tokens"` | what the caller knows it by |
    | a kernel | `program.grid = affine_map<...>` | its blocks, of the run-time sizes (tokens, sequences, outputs, context); the smallest result counts |
    | | `program.schedule` | how it runs: one `#program.schedule<...>`, or a list of them by the number of rows |
    | | `program.launch` | on a GPU: its launch recipe (docs/module-format.md) as a dictionary, or a list of `{launch, m}` |
    | | `program.scratch_bytes` | in the host ABI: scratch for each worker |
    | | `program.unsupported` | why the target cannot lower it yet |
    | the program | `program.workspace_bytes`, `program.max_tokens`, `program.max_context` | its memory plan and limits |
    | the module | `program.stage` | the last stage that it passed |
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// In the order of runtime/abi/kernel_abi.h.
def Program_Dim : I32EnumAttr<"Dim", "a size that is known when the program runs", [
    I32EnumAttrCase<"Tokens", 0, "tokens">, I32EnumAttrCase<"Sequences", 1, "sequences">,
    I32EnumAttrCase<"Outputs", 2, "outputs">, I32EnumAttrCase<"Context", 3, "context">]> {
  let cppNamespace = "::quant::program";
  let genSpecializedAttr = 0;
}

def Program_DimAttr : EnumAttr<Program_Dialect, Program_Dim, "dim"> {
  let assemblyFormat = "`<` $value `>`";
}

def Program_ScheduleAttr : AttrDef<Program_Dialect, "Schedule"> {
  let mnemonic = "schedule";
  let summary = "how a kernel runs";
  let description = [{
    `program-schedule` writes it from the machine's table and a cost model, a person may edit it, tiling and lowering obey it
    and refuse what they cannot do.

    - `unit` is what computes: `amx`, `avx512bf16`, `avx512` or `avx2` on the host, `tensor` (tensor cores) or `simt` (plain threads) on a GPU.
    - `m` says which numbers of rows this is for, where a kernel has several schedules: they cover all of them in order.
    - The dictionary holds the parameters, which each unit names itself; `tile` is always (M, N, K) with 0 for all of it.
    - `why` tells the reason, of a unit that is not the fastest one first of all that; `next` what came second.

    ```mlir
    func.func private @kernel() attributes {program.schedule = [
      #program.schedule<tensor, m = [1, 16], {block_m = 16 : i64, block_n = 128 : i64, swap_ab}, why = "...", next = "...">,
      #program.schedule<tensor, m = [17, 256], {block_m = 128 : i64, block_n = 128 : i64}>]}
    ```
  }];
  let parameters = (ins "::mlir::StringAttr":$unit, OptionalParameter<"::mlir::DenseI64ArrayAttr">:$m,
                        "::mlir::DictionaryAttr":$parameters, OptionalParameter<"::mlir::StringAttr">:$why,
                        OptionalParameter<"::mlir::StringAttr">:$next);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The tile (M, N, K), 0 for all of a dimension; empty where the kernel is not tiled.
    ::llvm::ArrayRef<int64_t> getTile() const;
  }];
}

class Program_Op<string mnemonic, list<Trait> traits = []> : Op<Program_Dialect, mnemonic, traits>;

def Program_WeightOp : Program_Op<"weight", [Pure]> {
  let summary = "a tensor of the checkpoint, by name";
  let description = [{
    Weights never enter the compiler: the runtime maps the file and passes a pointer. `aliases` are names to try when the
    first is absent (tied embeddings). `repack` says how a tensor that lies otherwise in the file is turned when it is loaded
    (runtime/abi/repack.h): codes of GPTQ and AWQ, zero points that are packed down the rows.

    `order` names a tensor that says the group of each column (GPTQ's g_idx): the columns are sorted by it, those of a group in the
    order of the file, so that groups are blocks. What they were sorted to, `repack = "column_order"` reads from that tensor: column
    i of the weight was column order[i] of the file. Its groups are of `group_size` columns, of which the last may have fewer.

    ```mlir
    %g = program.weight "model.norm.weight" : tensor<7168xbf16>
    %q = program.weight "model.layers.0.mlp.up_proj.qweight" {repack = "gptq_codes"} : tensor<18432x7168xui4>
    %s = program.weight "up.qweight" {order = "up.g_idx", repack = "gptq_codes"} : tensor<18432x7168xui4>
    %o = program.weight "up.g_idx" {repack = "column_order", group_size = 128 : i64} : tensor<1x7168xi32>
    ```
  }];
  let arguments = (ins StrAttr:$name, OptionalAttr<StrArrayAttr>:$aliases, OptionalAttr<StrAttr>:$repack,
                       OptionalAttr<StrAttr>:$order, OptionalAttr<I64Attr>:$group_size);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Program_WeightGroupOp : Program_Op<"weight_group", [Pure]> {
  let summary = "the same tensor of all experts, as one value";
  let description = [{
    `{}` in the name counts from 0 to the leading dimension - 1. In memory it is a table of pointers, one for each tensor.
    `repack`, `order` and `group_size` as of `program.weight`, of each.

    ```mlir
    %g = program.weight_group "model.layers.3.mlp.experts.{}.up_proj.weight" : tensor<256x2048x7168xf8E4M3FN>
    ```
  }];
  let arguments = (ins StrAttr:$name, OptionalAttr<StrAttr>:$repack, OptionalAttr<StrAttr>:$order,
                       OptionalAttr<I64Attr>:$group_size);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Program_CacheOp : Program_Op<"cache", [Pure]> {
  let summary = "a KV cache that lives from call to call";
  let description = [{
    Its `context` rows are handed out in pages of 64 to the sequences; ops read and write it in program order.

    ```mlir
    %kv = program.cache "kv.0" : memref<?x576xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs MemRefRankOf<[AnyType], [2]>:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
}

def Program_DispatchOp : Program_Op<"dispatch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>,
                                                 DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "runs a kernel over its grid";
  let description = [{
    Operands are weights, inputs, caches and the results of earlier dispatches. `plan-memory` gives each result that is not
    the program's own a place in the workspace: `placement` holds its byte offset, -1 for a result that the caller owns.

    ```mlir
    %h = program.dispatch @rms_norm_7168(%x, %g) "layer 0 input_layernorm" {placement = array<i64: 0>}
      : (tensor<?x7168xf32>, tensor<7168xbf16>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$operands, StrAttr:$label,
                       OptionalAttr<DenseI64ArrayAttr>:$placement);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let assemblyFormat = "$kernel `(` $operands `)` $label attr-dict `:` functional-type($operands, $outputs)";
}

#endif // QUANT_PROGRAM_OPS
