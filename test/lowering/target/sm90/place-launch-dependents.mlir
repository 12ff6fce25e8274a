// When the next kernel may start: behind a block's last load, in front of the wait for its cluster, or not before the end.
// RUN: quant-opt %s --split-input-file --verify-diagnostics --hopper-place-launch-dependents=at=loaded | FileCheck %s
// RUN: quant-opt %s --split-input-file --hopper-place-launch-dependents=at=never | FileCheck %s --check-prefix=NEVER
// RUN: quant-opt %s --split-input-file --hopper-place-launch-dependents | FileCheck %s --check-prefix=START
// RUN: not quant-opt %s --hopper-place-launch-dependents=at=sometime 2>&1 | FileCheck %s --check-prefix=ERROR
// RUN: quant-opt %source/test/stages/elements-sm90a.mlir --stage=tiled --stage-options="target=sm_90a launch-dependents=loaded" | FileCheck %s --check-prefix=STAGE

// NEVER-NOT: hopper.launch_dependents
// ERROR: error: launch-dependents is start, loaded or never, not sometime

// CHECK-LABEL: hopper.kernel @cluster(
// CHECK-NOT: hopper.launch_dependents
// CHECK: hopper.produce
// CHECK: hopper.launch_dependents
// CHECK-NEXT: hopper.drain
// CHECK-NOT: hopper.launch_dependents
// START-LABEL: hopper.kernel @cluster(
// START-NEXT: hopper.launch_dependents
!box = !hopper.tensor_map<32x128xf8E4M3FN, swizzle = 128>
!tile = !hopper.tile<64x128xf8E4M3FN, swizzle = 128>
!ring = !hopper.ring<3 shared by 2, <64x128xf8E4M3FN, swizzle = 128>>
hopper.kernel @cluster(%map: !box, %n: i32) cluster 2 {
  hopper.launch_dependents
  %ring = hopper.ring arrivals 8 : !ring
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      %slot = hopper.first_slot
      %next = hopper.consume %ring[%slot] : !ring {
      ^bb0(%t: !tile):
        hopper.yield
      }
    }
    role(1 warpgroups) (%w: i32) {
      hopper.one_thread {
        hopper.wait_prerequisites
        %slot = hopper.first_slot
        %next = hopper.produce %ring[%slot] : !ring {
        ^bb0(%t: !tile):
          hopper.tma_load %map[%n, %n] to %t multicast %n : !box to !tile
        }
        hopper.drain %ring[%next] : !ring
      }
    }
  }
}

// -----

// A kernel that says nothing stays as it is.
// CHECK-LABEL: hopper.kernel @silent(
// CHECK-NOT: hopper.launch_dependents
hopper.kernel @silent(%n: i32) cluster 1 {
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      hopper.wait_prerequisites
    }
  }
}

// -----

// expected-error @below {{has 0 threads that load: which loads last is not known}}
hopper.kernel @nobody(%n: i32) cluster 1 {
  hopper.launch_dependents
  hopper.warp_roles {
    role(1 warpgroups) (%w: i32) {
      hopper.wait_prerequisites
    }
  }
}

// STAGE: hopper.kernel
// STAGE: role(1 warpgroups
// STAGE: only "rest"
// STAGE: hopper.produce
// STAGE: hopper.launch_dependents
