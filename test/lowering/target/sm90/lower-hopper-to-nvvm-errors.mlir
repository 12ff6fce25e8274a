// RUN: quant-opt %s --lower-hopper-to-nvvm -split-input-file -verify-diagnostics

func.func @factor(%slot: !hopper.slot) {
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i32
  // expected-error @+1 {{hopper.unroll must be a positive number}}
  scf.for %i = %zero to %one step %one : i32 {
  } {hopper.unroll = 0 : i64}
  return
}

// -----

// Tiles live in kernels.
func.func @outside(%tile: !hopper.tile<1x16xf32>) {
  // expected-error @+1 {{failed to legalize operation 'hopper.load_column_scales'}}
  %scales = hopper.load_column_scales %tile : !hopper.tile<1x16xf32> -> !hopper.column_scales<16>
  return
}
