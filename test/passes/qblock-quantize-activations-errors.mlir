// RUN: not quant-opt %s --qblock-quantize-activations=scale-format=f16 2>&1 | FileCheck %s --check-prefix=SCALE
// RUN: not quant-opt %s --qblock-quantize-activations=result-type=f16 2>&1 | FileCheck %s --check-prefix=RESULT
// RUN: not quant-opt %s --qblock-quantize-activations=scale-layout=columns 2>&1 | FileCheck %s --check-prefix=LAYOUT

// LAYOUT: error: unknown scale-layout 'columns': row_major or k_major
// SCALE: error: unknown scale-format 'f16': f32 or ue8m0
// RESULT: error: unknown result-type 'f16': f32 or bf16
func.func @forward() {
  return
}
