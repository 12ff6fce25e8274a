func.func @forward(%x: tensor<?x16xf32> {program.dim = #program.dim<tokens>}) -> tensor<?x16xf32> {
  %s = program.dispatch @scales(%x) "scales" : (tensor<?x16xf32>) -> tensor<?x20xf32, #qblock.layout<k_major>>
  %r = program.dispatch @k16(%s) "result" : (tensor<?x20xf32, #qblock.layout<k_major>>) -> tensor<?x16xf32>
  return %r : tensor<?x16xf32>
}
func.func private @scales(tensor<?x16xf32>) -> tensor<?x20xf32, #qblock.layout<k_major>>
func.func private @k16(tensor<?x20xf32, #qblock.layout<k_major>>) -> tensor<?x16xf32>
