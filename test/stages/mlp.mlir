func.func @forward(%ids: tensor<?xi32> {program.dim = "tokens"}, %position: index {program.dim = "position"}, %outputs: index {program.dim = "outputs"}) -> (tensor<?x300xf32> {program.dim = "outputs"}) attributes {program.max_context = 64 : i64} {
  %table = program.weight "model.embed_tokens.weight" : tensor<512x300xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x300xbf16>) -> tensor<?x300xf32>
  %gd = program.weight "mlp.gate_proj.weight" : tensor<256x300xf8E4M3FN>
  %gs = program.weight "mlp.gate_proj.weight_scale_inv" : tensor<2x3xf32>
  %gq = qblock.assemble %gd, %gs : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>
  %gw = qblock.dequantize %gq : !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32> -> tensor<256x300xf32>
  %g = qblock.matmul %x, %gw : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  %ud = program.weight "mlp.up_proj.weight" : tensor<256x300xf8E4M3FN>
  %us = program.weight "mlp.up_proj.weight_scale_inv" : tensor<2x3xf32>
  %uq = qblock.assemble %ud, %us : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>
  %uw = qblock.dequantize %uq : !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32> -> tensor<256x300xf32>
  %u = qblock.matmul %x, %uw : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  %h = deepseek.swiglu %g, %u : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  %dd = program.weight "mlp.down_proj.weight" : tensor<300x256xf8E4M3FN>
  %ds = program.weight "mlp.down_proj.weight_scale_inv" : tensor<3x2xf32>
  %dq = qblock.assemble %dd, %ds : (tensor<300x256xf8E4M3FN>, tensor<3x2xf32>) -> !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>
  %dw = qblock.dequantize %dq : !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32> -> tensor<300x256xf32>
  %y = qblock.matmul %h, %dw : (tensor<?x256xf32>, tensor<300x256xf32>) -> tensor<?x300xf32>
  %l = deepseek.last_tokens %y, %outputs : (tensor<?x300xf32>) -> tensor<?x300xf32>
  return %l : tensor<?x300xf32>
}
