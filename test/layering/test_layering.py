#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The folder table holds: who includes whom, what the runtime links to, and what lies at the top of the repository.

    python3 test/layering/test_layering.py [--bin build/bin] [unittest arguments]

Without --bin the binaries are not looked at. The tests also break every rule on a copy and want to hear of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dialects", "models", "passes", "lowering", "runtime", "tools")
SOURCES = {".h", ".c", ".cpp", ".inc", ".td"}
INCLUDE = re.compile(r'^\s*#?\s*include\s*["<]([^">]+)[">]', re.MULTILINE)

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "docs", "test", *FOLDERS}

#: Libraries that are not C++'s own, by the first part of an include.
COMPILER = ("mlir", "mlir-c", "llvm", "llvm-c", "lld", "clang")
THIRD_PARTY = (*COMPILER, "nlohmann", "CLI", "tl", "fmt", "gtest", "benchmark", "indicators", "Eigen", "cuda", "cuda.h", "cuda_runtime.h", "pcre2.h", "httplib.h")
#: What all but dialects and passes may use.
BASE = ("runtime/support", "tl", "fmt")
#: How MLIR reaches LLVM IR and targets: for lowering and for the tools that register it.
BACKEND = (
    "mlir/Dialect/LLVMIR", "mlir/Dialect/NVVM", "mlir/Conversion", "mlir/Target", "mlir/ExecutionEngine",
    "llvm/IR", "llvm/MC", "llvm/Target",
)  # fmt: skip


@dataclass
class Rule:
    """For the sources whose path begins with one of `files`: what they may include beside C++'s own headers, and exceptions."""

    files: tuple[str, ...]
    may: tuple[str, ...]
    never: tuple[str, ...] = ()


#: The first rule that fits a file counts.
RULES = (
    # Numbers and arithmetic, for those without the compiler too.
    Rule(("dialects/machine",), ("dialects/machine", "runtime/abi", *BASE)),
    Rule(("dialects/kernel",), ("mlir", "llvm", "dialects/kernel", "dialects/pch.h"), BACKEND),
    Rule(("dialects/rows",), ("mlir", "llvm", "dialects/rows", "dialects/pch.h"), BACKEND),
    Rule(("dialects/qblock",), ("mlir", "llvm", "dialects/qblock", "dialects/kernel", "dialects/rows", "dialects/pch.h",
                               "runtime/abi"), BACKEND),
    Rule(("dialects/program",), ("mlir", "llvm", "dialects/program", "dialects/pch.h", "runtime/abi", "nlohmann"), BACKEND),
    Rule(("dialects/deepseek",),
         ("mlir", "llvm", "dialects/deepseek", "dialects/kernel", "dialects/qblock", "dialects/rows", "dialects/pch.h", "runtime/abi"), BACKEND),
    Rule(("dialects/hopper",), ("mlir", "llvm", "dialects/hopper", "dialects/machine", "dialects/qblock", "dialects/pch.h"), BACKEND),
    Rule(("dialects/x86",), ("mlir", "llvm", "dialects/x86", "dialects/kernel", "dialects/machine", "dialects/pch.h", *BASE), BACKEND),
    Rule(("dialects/pch.h",), ("mlir", "llvm", "nlohmann"), BACKEND),
    Rule(("dialects",), ("mlir", "llvm", "dialects"), BACKEND),
    Rule(("models/builder",), ("mlir", "llvm", "dialects", "models", "runtime/checkpoint", "runtime/abi", *BASE), BACKEND),
    Rule(("models",), ("models", "runtime/checkpoint", "runtime/abi", "nlohmann", *BASE), ("models/builder",)),
    # The choice of kernels is arithmetic, too; the pass that writes it down is not.
    Rule(("passes/schedule/CostModel.h", "passes/schedule/CostModel.cpp", "passes/schedule/ChooseVariants.h",
          "passes/schedule/ChooseVariants.cpp", "passes/schedule/AttentionCost.h", "passes/schedule/AttentionCost.cpp"),
         ("dialects/machine", "passes/schedule", "runtime/abi", *BASE)),
    Rule(("passes",), ("mlir", "llvm", "dialects", "passes"), BACKEND),
    Rule(("lowering/common",), ("mlir", "llvm", "dialects", "lowering/common", "runtime/abi", *BASE)),
    Rule(("lowering/target/x86",),
         ("mlir", "llvm", "dialects", "lowering/common", "lowering/target/Target.h", "lowering/target/x86", "runtime/abi", "nlohmann", *BASE)),
    Rule(("lowering/target/sm90",),
         ("mlir", "llvm", "dialects", "lowering/common", "lowering/target/Target.h", "lowering/target/sm90", "runtime/abi", "nlohmann", *BASE)),
    # The list of targets knows them all; what uses a target knows the interface alone.
    Rule(("lowering/target",), ("mlir", "llvm", "dialects", "lowering/target", "runtime/abi", "nlohmann", *BASE)),
    Rule(("lowering/module",), ("mlir", "llvm", "dialects", "lowering/target/Target.h", "lowering/module", "runtime/abi", "nlohmann", *BASE)),
    Rule(("runtime/support",), ("nlohmann", *BASE)),
    Rule(("runtime/abi",), ("runtime/abi", "nlohmann", *BASE)),
    Rule(("runtime/checkpoint",), ("runtime/abi", "runtime/checkpoint", "nlohmann", *BASE)),
    Rule(("runtime/module",), ("runtime/abi", "runtime/checkpoint", "runtime/module", "nlohmann", *BASE)),
    Rule(("runtime/device/common",), ("runtime", "nlohmann", *BASE),
         ("runtime/api", "runtime/device/cuda", "runtime/device/gpu", "runtime/device/host")),
    Rule(("runtime/device/host",), ("runtime", "nlohmann", *BASE), ("runtime/api", "runtime/device/cuda", "runtime/device/gpu")),
    Rule(("runtime/device/gpu",), ("runtime", "nlohmann", *BASE), ("runtime/api", "runtime/device/cuda", "runtime/device/host")),
    Rule(("runtime/device/cuda",), ("runtime", "nlohmann", *BASE), ("runtime/api", "runtime/device/host")),
    Rule(("runtime",), ("runtime", "nlohmann", *BASE)),
    # The simulator's rooms, from the text to the device.
    Rule(("tools/quant-sim/ptx",), ("tools/quant-sim/ptx", "runtime/abi", *BASE)),
    Rule(("tools/quant-sim/machine",), ("tools/quant-sim/machine", "tools/quant-sim/ptx", "dialects/machine", "runtime/abi", *BASE)),
    Rule(("tools/quant-sim/isa",), ("tools/quant-sim", "dialects/machine", "runtime/abi", *BASE),
         ("tools/quant-sim/api", "tools/quant-sim/device")),
    Rule(("tools/quant-sim/api",),
         ("tools/quant-sim", "tools/common/parallel.h", "dialects/machine", "runtime/abi", "nlohmann", *BASE),
         ("tools/quant-sim/device",)),
    Rule(("tools/quant-sim",), ("tools/quant-sim", "dialects/machine", "tools/common", "runtime", "nlohmann", "CLI", *BASE)),
    # The converter's rooms.
    Rule(("tools/quant-convert/engine",), ("tools/quant-convert/engine", "tools/common", "runtime/abi", "runtime/checkpoint", "nlohmann",
                                            *BASE)),
    Rule(("tools/quant-convert/schemes",),
         ("tools/quant-convert/schemes", "tools/quant-convert/engine", "tools/common", "models", "runtime/abi", "runtime/checkpoint",
          "nlohmann", *BASE), ("models/builder",)),
    Rule(("tools/quant-convert/check",),
         ("tools/quant-convert/check", "tools/quant-convert/schemes", "tools/common", "models", "runtime/abi", "runtime/checkpoint",
          "nlohmann", *BASE), ("models/builder",)),
    # Texts, without a model.
    Rule(("tools/text",), ("tools/text", "runtime/checkpoint", "nlohmann", "pcre2.h", *BASE)),
    # Answers of a session.
    Rule(("tools/generate",), ("tools/generate", "tools/text", "runtime/api", "nlohmann", *BASE)),
    # Both as a C library.
    Rule(("tools/libquant",), ("tools/libquant", "tools/generate", "tools/text", "runtime/api", "nlohmann", *BASE)),
    # What runs without the compiler.
    Rule(("tools/quant-serve",),
         ("tools/quant-serve", "tools/generate", "tools/text", "runtime/api", "runtime/checkpoint",
          "runtime/device/common", "nlohmann", "CLI", "httplib.h", *BASE)),
    Rule(("tools/quant-run", "tools/quant-convert", "tools/common"),
         ("tools/quant-run", "tools/quant-convert", "tools/quant-sim", "tools/common", "tools/generate", "tools/text", "models", "runtime", "nlohmann", "CLI", *BASE,
          "indicators", "Eigen"), ("models/builder",)),
    Rule(("tools",), (*FOLDERS, *THIRD_PARTY)),
)  # fmt: skip


def begins(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def resolve(root: Path, source: Path, include: str) -> str | None:
    """What an include is, from the repository's root or a library's; None for C++'s and the system's own headers."""
    if include.split("/")[0] in FOLDERS + ("test",):
        return include
    local = Path(os.path.normpath(source.parent / include))
    if local.is_relative_to(root) and local.exists():
        return local.relative_to(root).as_posix()
    return include if include.split("/")[0] in THIRD_PARTY else None


def include_violations(root: Path) -> list[str]:
    """Every include that the table forbids: "passes/x.cpp: includes runtime/y.h"."""
    found = []
    for source in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in SOURCES):
        name = source.relative_to(root).as_posix()
        rule = next((rule for rule in RULES if any(begins(name, prefix) for prefix in rule.files)), None)
        if rule is None:
            found.append(f"{name}: is in no folder that has a rule")
            continue
        for include in INCLUDE.findall(source.read_text()):
            what = resolve(root, source, include)
            allowed = what is None or any(begins(what, prefix) for prefix in rule.may)
            if not allowed or any(begins(what or "", prefix) for prefix in rule.never):
                found.append(f"{name}: includes {what}")
    return found


def top_level_violations(root: Path) -> list[str]:
    """Entries at the top that do not belong there, and those that are missing. Dotfiles and what git ignores may lie there."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True
    )
    if listed.returncode == 0:
        entries = {path.split("/")[0] for path in listed.stdout.split("\0") if path and (root / path).exists()}
    else:  # an unpacked archive
        entries = {path.name for path in root.iterdir() if not path.name.startswith("build")}
    entries = {entry for entry in entries if not entry.startswith(".")}
    return [f"{entry}: does not belong at the top" for entry in sorted(entries - TOP_LEVEL)] + [
        f"{entry}: is missing" for entry in sorted(TOP_LEVEL - entries)
    ]


def binary_violations(binary: Path) -> list[str]:
    """Libraries and symbols of LLVM or MLIR in a program or library."""
    dynamic = subprocess.run(["readelf", "-dW", binary], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(lib(?:LLVM|MLIR|lld|clang)[^\]]*)\]", dynamic)
    found = [f"{binary.name}: needs {name}" for name in needed]
    symbols = ""
    for table in (["nm", "-C"], ["nm", "-CD"]):
        symbols += subprocess.run([*table, binary], capture_output=True, text=True, check=True).stdout
    alien = re.findall(r"^.{17}[A-Za-z] (.*\b(?:llvm|mlir)::.*|(?:LLVM|mlir)[A-Z]\w*(?:@.*)?)$", symbols, re.MULTILINE)
    return found + [f"{binary.name}: has symbol {name}" for name in sorted(set(alien))[:10]]


class Tree(unittest.TestCase):
    def test_includes(self) -> None:
        self.assertEqual(include_violations(ROOT), [])

    def test_top_level(self) -> None:
        self.assertEqual(top_level_violations(ROOT), [])


class Binaries(unittest.TestCase):
    folder: Path | None = None

    def setUp(self) -> None:
        if self.folder is None:
            self.skipTest("no --bin")

    def test_runtime_is_free_of_the_compiler(self) -> None:
        build = self.folder.parent
        libraries = (build / "runtime" / "api" / "libquant_runtime.so", build / "tools" / "libquant" / "libquant.so")
        for binary in (self.folder / "quant-run", self.folder / "quant-serve", self.folder / "quant-convert", *libraries):
            with self.subTest(binary.name):
                self.assertEqual(binary_violations(binary), [])

    def test_the_check_sees_the_compiler(self) -> None:
        compiler = self.folder / "quant-compile"
        if not compiler.exists():
            self.skipTest("built without the compiler")
        found = binary_violations(compiler)
        self.assertTrue(any(": needs lib" in line for line in found), found)
        self.assertTrue(any(": has symbol " in line for line in found), found)


class Violations(unittest.TestCase):
    """Each rule, broken on a copy."""

    def setUp(self) -> None:
        self.copy = Path(tempfile.mkdtemp(prefix="layering-"))
        self.addCleanup(shutil.rmtree, self.copy)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, self.copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.assertEqual(include_violations(self.copy), [])

    def broken(self, file: str, include: str, what: str | None = None) -> None:
        """One more file with one include: seen, and nothing else."""
        path = self.copy / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"// {include}\n{include}\n")
        with self.subTest(file=file, include=include):
            self.assertEqual(include_violations(self.copy), [f"{file}: includes {what}"])
        path.unlink()

    def quoted(self, folder: str, *includes: str) -> None:
        for include in includes:
            self.broken(f"{folder}/Broken.cpp", f'#include "{include}"', include)

    def test_dialects(self) -> None:
        self.quoted("dialects/qblock", "passes/Passes.h", "lowering/target/x86/Passes.h", "runtime/checkpoint/file.h", "models/config.h",
                    "dialects/deepseek/DeepSeek.h", "mlir/Dialect/LLVMIR/LLVMDialect.h")  # fmt: skip
        self.quoted("dialects/machine", "mlir/IR/Builders.h", "llvm/ADT/StringRef.h", "dialects/hopper/Hopper.h",
                    "runtime/checkpoint/file.h", "nlohmann/json.hpp")  # fmt: skip
        self.quoted("dialects/program", "dialects/qblock/QBlock.h")
        self.quoted("dialects/x86", "dialects/qblock/QBlock.h", "lowering/target/x86/Passes.h")
        self.quoted("dialects/deepseek", "dialects/program/Program.h")
        self.broken("dialects/qblock/Broken.td", 'include "dialects/deepseek/DeepSeekOps.td"', "dialects/deepseek/DeepSeekOps.td")

    def test_models(self) -> None:
        for file in ("models/config_broken.cpp", "models/tensors_broken.h", "models/rope_broken.cpp"):
            self.broken(file, '#include "mlir/IR/Builders.h"', "mlir/IR/Builders.h")
            self.broken(file, "#include <llvm/ADT/StringRef.h>", "llvm/ADT/StringRef.h")
        self.quoted("models", "dialects/qblock/QBlock.h", "models/builder/Builder.h", "runtime/module/module.h")
        self.quoted("models/builder", "passes/Passes.h", "lowering/module/Container.h", "runtime/device/host/session.h")

    def test_passes(self) -> None:
        self.quoted("passes/fuse", "mlir/Dialect/LLVMIR/NVVMDialect.h", "mlir/Dialect/LLVMIR/LLVMDialect.h",
                    "mlir/Conversion/Passes.h", "runtime/abi/kernel_abi.h", "lowering/target/x86/Passes.h", "models/config.h",
                    "tools/pipeline/Stages.h")  # fmt: skip
        self.quoted("passes/schedule", "lowering/target/sm90/Gemm.h")

    def test_lowering(self) -> None:
        for folder in ("lowering/target/x86", "lowering/target/sm90", "lowering/module"):
            self.quoted(folder, "passes/Passes.h", "runtime/checkpoint/file.h", "tools/pipeline/Stages.h")
        self.quoted("lowering/target/x86", "lowering/target/sm90/Ptx.h", "lowering/module/Container.h")
        self.quoted("lowering/target/sm90", "lowering/target/x86/CodeObject.h")
        self.quoted("lowering/module", "lowering/target/x86/CodeObject.h", "lowering/target/sm90/Ptx.h")
        self.broken("lowering/target/x86/Broken.cpp", '#include "../sm90/Ptx.h"', "lowering/target/sm90/Ptx.h")

    def test_runtime(self) -> None:
        for part in ("support", "abi", "checkpoint", "module", "device/host", "device/gpu", "device/cuda", "api"):
            self.quoted(f"runtime/{part}", "llvm/ADT/StringRef.h", "mlir/IR/Builders.h", "dialects/qblock/QBlock.h", "models/config.h",
                        "passes/Passes.h", "lowering/module/Container.h", "tools/common/units.h", "cuda.h")  # fmt: skip
        self.quoted("runtime/support", "runtime/abi/kernel_abi.h", "runtime/checkpoint/file.h")
        self.quoted("runtime/checkpoint", "runtime/module/module.h")
        self.quoted("runtime/module", "runtime/device/host/session.h")
        self.quoted("runtime/device/host", "runtime/api/quant.h", "runtime/device/cuda/driver.h")
        self.quoted("runtime/device/gpu", "runtime/device/cuda/driver.h", "tools/quant-sim/device/sim_device.h")
        self.broken("runtime/checkpoint/broken.h", '  #  include "../../models/config.h"', "models/config.h")

    def test_tools(self) -> None:
        self.quoted("tools/quant-run", "llvm/Support/raw_ostream.h", "dialects/qblock/QBlock.h", "lowering/module/Container.h")
        self.quoted("tools/quant-convert", "mlir/IR/Builders.h", "models/builder/Builder.h", "passes/Passes.h")
        self.quoted("tools/libquant", "tools/quant-run/options.h", "runtime/device/host/session.h")
        self.quoted("tools/text", "runtime/api/quant.h", "models/config.h", "tools/quant-run/options.h")
        self.quoted("tools/quant-compile", "test/runtime/module/test_module.h")

    def test_new_folders_need_a_rule_at_the_top_only(self) -> None:
        for entry in TOP_LEVEL:
            path = self.copy / entry
            path.touch() if "." in entry or entry == "LICENSE" else path.mkdir(exist_ok=True)
        self.assertEqual(top_level_violations(self.copy), [])
        (self.copy / "scripts").mkdir()
        (self.copy / ".ci").mkdir()
        (self.copy / "docs").rmdir()
        self.assertEqual(top_level_violations(self.copy), ["scripts: does not belong at the top", "docs: is missing"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, default=os.environ.get("QUANT_BIN"), metavar="DIR", help="the build's bin directory")
    arguments, rest = parser.parse_known_args()
    if arguments.bin:
        Binaries.folder = Path(arguments.bin).resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
