//===- ProgramOps.td - the compiled model -----------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PROGRAM_OPS
#define QUANT_PROGRAM_OPS

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Program_Dialect : Dialect {
  let name = "program";
  let cppNamespace = "::quant::program";
  let summary = "The compiled model: a straight line of kernel dispatches over named values";
  let description = [{
    A program is data, a kernel is code. The program (`func.func @forward`) names its weights as the checkpoint does, owns the
    KV caches, and is a list of dispatches; `lowering/module` prints it as JSON (docs/module-format.md). The same ops carry
    the model through every stage: `weight`, `weight_group` and `cache` stand there from the `model` stage on, `dispatch`
    from the `dispatched` stage on.

    Attributes on functions: `program.grid` (on a kernel, an affine map of the run-time sizes `tokens, position, outputs,
    context`; the grid is the smallest of its results), `program.dim` (on arguments and results: which run-time size an index
    or a dynamic leading dimension is), `program.unsupported` (on a kernel that the target cannot lower yet: why),
    `program.scratch_bytes` (on a kernel in the host ABI: scratch for each worker), `program.launch` (on a GPU kernel: its
    launch recipe in JSON, or a list of them by M), `program.workspace_bytes`, `program.max_tokens` and `program.max_context` (on the program). `program.stage` on the module
    names the last stage that it passed.
  }];
}

class Program_Op<string mnemonic, list<Trait> traits = []> : Op<Program_Dialect, mnemonic, traits>;

def Program_WeightOp : Program_Op<"weight", [Pure]> {
  let summary = "a tensor of the checkpoint, by name";
  let description = [{
    Weights never enter the compiler: the runtime maps the file and passes a pointer. `aliases` are names to try when the
    first is absent (tied embeddings).

    ```mlir
    %g = program.weight "model.norm.weight" : tensor<7168xbf16>
    ```
  }];
  let arguments = (ins StrAttr:$name, OptionalAttr<StrArrayAttr>:$aliases);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Program_WeightGroupOp : Program_Op<"weight_group", [Pure]> {
  let summary = "the same tensor of all experts, as one value";
  let description = [{
    `{}` in the name counts from 0 to the leading dimension - 1. In memory it is a table of pointers, one for each tensor.

    ```mlir
    %g = program.weight_group "model.layers.3.mlp.experts.{}.up_proj.weight" : tensor<256x2048x7168xf8E4M3FN>
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Program_CacheOp : Program_Op<"cache", [Pure]> {
  let summary = "a KV cache that lives from call to call";
  let description = [{
    Rows are positions, `context` of them; ops read and write it in program order.

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
