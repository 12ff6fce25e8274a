# The lit suite: every .mlir file under test/. `ninja check-lit` runs all, `lit -v build/test/passes` a folder of it
# (docs/extending.md).
import os
import shutil
import sys

import lit.formats

config.name = "quant"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.join(config.quant_source_dir, "test")
config.test_exec_root = os.path.join(config.quant_build_dir, "test")

# quant-opt, FileCheck and not by their bare names; FileCheck is in no folder of Debian's PATH.
tools = os.path.join(config.quant_build_dir, "bin")
config.environment["PATH"] = os.pathsep.join([tools, config.quant_llvm_tools, config.environment["PATH"]])
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --dump-input-filter=error"
config.substitutions += [("%source", config.quant_source_dir), ("%build", config.quant_build_dir),
                         ("%python", sys.executable),
                         # Runs a kernel in the simulator on generated inputs against a reference (test/tools/quant-sim/sim_check.cpp).
                         ("%sim-check", os.path.join(tools, "sim-check"))]

if shutil.which("ptxas"):
    config.available_features.add("ptxas")
if os.path.exists(os.path.join(tools, "quant-compile")):
    config.available_features.add("quant-compile")
if os.path.exists(os.path.join(config.quant_build_dir, "passes", "Passes.md")):
    config.available_features.add("docs")
