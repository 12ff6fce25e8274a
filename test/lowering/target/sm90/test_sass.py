#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What ptxas made of the kernels that are launched programmatically: what stands in front of the wait for the kernels before, and
whether a block's registers are as many as a multiprocessor has.

    python3 test/lowering/target/sm90/test_sass.py --bin build/bin [unittest arguments]

That the PTX reads nothing but early operands in front of the wait, the simulator checks (docs/simulator.md); here, that ptxas
moved nothing there. Skipped where there is no ptxas or no nvdisasm.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A form of each kernel: roles, clusters, what is loaded early.
KERNELS: dict[str, str] = {
    "fp8": "fp8_gemm --n=1024 --k=2048 --tile=128x128",
    "fp8 multicast": "fp8_gemm --n=1024 --k=2048 --tile=128x192,multicast=a",
    "fp8 swapped": "fp8_gemm --n=1024 --k=2048 --tile=16x128,swap --bias",
    "fp8 split": "fp8_gemm --n=1024 --k=2048 --tile=64x64,split-k=4",
    "fp8 grouped": "fp8_grouped_gemm --groups=8 --n=1024 --k=512 --tile=128x128",
    "fp8 masked": "fp8_grouped_gemm --groups=8 --layout=masked --n=1024 --k=512 --tile=16x128,swap",
    "fp8 swiglu": "fp8_grouped_gemm --groups=8 --n=1024 --k=512 --swiglu --tile=128x128",
    "int8": "int8_gemm --n=1024 --k=2048 --tile=128x128",
    "int8 swapped": "int8_gemm --n=1024 --k=2048 --tile=64x128,swap",
    "bf16": "bf16_gemm --n=1024 --k=2048 --tile=128x256",
    "absorb": "mla_absorb --heads=16 --rope=interleaved --tile=128x128",
    "absorb, one warpgroup": "mla_absorb --heads=16 --rope=halves --tile=64x256",
    "expand": "mla_expand --heads=16 --tile=8x64,swap",
    "decode": "mla_decode --heads=16 --pages=64 --lse",
    "decode in parts": "mla_decode --heads=128 --pages=64 --splits=4",
}
# Those that read operands of theirs early: a dense weight. Which weight is a group's the counts say, which a kernel before writes.
EARLY = {"fp8", "fp8 multicast", "fp8 swapped", "fp8 split", "int8", "int8 swapped", "bf16", "absorb", "absorb, one warpgroup", "expand"}

REGISTERS_OF_SM = 65536
WARPGROUP = 128


class Context:
    """Set by main(): where the binaries are."""

    binaries = Path()


def find_tool(name: str) -> str | None:
    """On PATH, in CUDA_HOME, or beside ptxas."""
    ptxas = shutil.which("ptxas")
    folders = [Path(os.environ["CUDA_HOME"]) / "bin"] if "CUDA_HOME" in os.environ else []
    folders += [Path(ptxas).parent, Path(ptxas).resolve().parent] if ptxas else []
    return shutil.which(name) or next((str(folder / name) for folder in folders if (folder / name).exists()), None)


@dataclass
class Instruction:
    text: str
    # Only where a predicate holds, so that the next one may follow, too.
    conditional: bool = False
    # The labels that it may go to.
    targets: tuple[str, ...] = ()
    # The next one does not follow.
    ends: bool = False


@dataclass
class Code:
    """A kernel's instructions in order, and where labels stand."""

    instructions: list[Instruction]
    labels: dict[str, int]

    def before_wait(self, wait: str) -> list[str]:
        """What can be reached from the kernel's first instruction without passing one that begins with `wait`."""
        seen: set[int] = set()
        pending = [0]
        while pending:
            at = pending.pop()
            if at in seen or at >= len(self.instructions):
                continue
            seen.add(at)
            instruction = self.instructions[at]
            if instruction.text.startswith(wait):
                continue
            pending += [self.labels[target] for target in instruction.targets]
            if instruction.conditional or not instruction.ends:
                pending.append(at + 1)
        return [self.instructions[at].text for at in sorted(seen)]


def read_sass(text: str, kernel: str) -> Code:
    """Of nvdisasm's output. Calls come back; where threads meet again (BSYNC) the label of the BSSY before it may follow."""
    code = Code([], {})
    meeting: dict[str, tuple[str, ...]] = {}
    # Functions that a kernel calls stand in its section, behind it.
    begin = text.index(f".text.{kernel}:")
    for line in text[begin:].splitlines():
        if re.match(r"\s*\.section", line):
            break
        if label := re.match(r"^\s*([.$][\w.$]*):", line):
            code.labels[label[1]] = len(code.instructions)
        elif found := re.match(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?(U?P[T0-9]+)\s+)?(\S[^;]*?)\s*;", line):
            predicate, body = found[1], found[2]
            name = body.split()[0].split(".")[0]
            targets = tuple(re.findall(r"`\(([^)]+)\)", body)) if name in ("BRA", "CALL") else ()
            if name == "BSSY":
                meeting[body.split()[1].rstrip(",")] = tuple(re.findall(r"`\(([^)]+)\)", body))
            elif name == "BSYNC":
                targets = meeting[body.split()[1]]
            if name in ("BRX", "JMX", "JMP", "BRXU"):
                raise ValueError(f"{kernel}: where '{body}' goes is not known")
            # A branch may have a predicate of its own in front of the label.
            conditional = predicate is not None or (name == "BRA" and "," in body)
            code.instructions.append(Instruction(body, conditional, targets, ends=name in ("BRA", "EXIT", "RET")))
    return code


def read_ptx(text: str) -> Code:
    """Loops that wait for a barrier are one instruction: their labels are local."""
    code = Code([], {})
    for line in map(str.strip, text[text.index(".entry") :].splitlines()):
        if label := re.match(r"^(\$L\w+):", line):
            code.labels[label[1]] = len(code.instructions)
        elif found := re.match(r"^(@!?%\w+\s+)?(bra(?:\.uni)?)\s+(\$L\w+);", line):
            code.instructions.append(Instruction(found[2], found[1] is not None, (found[3],), ends=True))
        elif line.endswith(";") and not line.startswith("."):
            code.instructions.append(Instruction(line, ends=line.startswith(("ret;", "exit;", "trap;"))))
    return code


def registers_of(text: str, kernel: str) -> int:
    """Registers of a thread at launch, of nvdisasm's whole output."""
    found = re.search(rf"EIATTR_REGCOUNT\n(?:.*\n){{1,6}}?.*index@\({re.escape(kernel)}\)\n.*\.word\s+(0x[0-9a-f]+)", text)
    if not found:
        raise ValueError(f"nothing says how many registers {kernel} has")
    return int(found[1], 16)


class SassTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.disassembler = find_tool("nvdisasm")
        if not cls.disassembler or not find_tool("ptxas"):
            print("*** NO nvdisasm (or ptxas) FOUND: what stands in front of the wait was not checked ***", file=sys.stderr)
            raise unittest.SkipTest("no nvdisasm or no ptxas")
        cls.compiled: dict[str, tuple[dict[str, Any], str, str]] = {}
        cls.folder = tempfile.TemporaryDirectory(prefix="sass-")
        cls.addClassCleanup(cls.folder.cleanup)

    def compile(self, words: str) -> tuple[dict[str, Any], str, str]:
        """The recipe, PTX and SASS."""
        if words in self.compiled:
            return self.compiled[words]
        name, *flags = words.split()
        folder = Path(self.folder.name) / str(len(self.compiled))
        command = [str(Context.binaries / "quant-compile"), f"--kernel={name}", *flags, "-o", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        (cubin,) = folder.glob("*.cubin")
        sass = subprocess.run([self.disassembler, str(cubin)], capture_output=True, text=True, check=True, timeout=120).stdout
        recipe = json.loads(cubin.with_suffix(".json").read_text())
        self.compiled[words] = recipe, cubin.with_suffix(".ptx").read_text(), sass
        return self.compiled[words]

    def test_ptxas_moves_no_access_in_front_of_the_wait(self) -> None:
        for name, words in KERNELS.items():
            with self.subTest(name):
                recipe, ptx, sass = self.compile(words)
                self.assertTrue(recipe["programmatic"])
                code = read_sass(sass, recipe["kernel"])
                in_sass = code.before_wait("ACQBULK")
                accesses = [text for text in in_sass if re.match(r"(LD|LDG|LDGSTS|ST|STG|ATOM|ATOMG|RED|REDG|UTMASTG|UTMAREDG|UBLKCP)\b", text)]
                self.assertEqual(accesses, [], "global memory is used before the kernels in front are done")
                in_ptx = read_ptx(ptx).before_wait("griddepcontrol.wait")
                early = sum(text.startswith("cp.async.bulk.tensor") for text in in_ptx)
                self.assertEqual(early > 0, name in EARLY, "TMA loads in front of the wait, in PTX")
                self.assertEqual(sum(text.startswith("UTMALDG") for text in in_sass), early, "TMA loads in front of the wait")
                # Behind it there are some, and they are found.
                all_loads = sum(text.startswith("UTMALDG") for text in code.before_wait("no such instruction"))
                self.assertGreater(all_loads, early)

    def test_a_block_has_the_registers_that_its_roles_take(self) -> None:
        for name, words in KERNELS.items():
            with self.subTest(name):
                recipe, _, sass = self.compile(words)
                threads, registers = recipe["block"][0], registers_of(sass, recipe["kernel"])
                self.assertGreater(registers, 16)
                # A warp's come in units of 8 for each thread.
                at_launch = (registers + 7) // 8 * 8 * threads
                self.assertLessEqual(at_launch, REGISTERS_OF_SM)
                given = [int(n, 16) for n in re.findall(r"USETMAXREG\.DEALLOC\.CTAPOOL\s+(0x[0-9a-f]+)", sass)]
                taken = [int(n, 16) for n in re.findall(r"USETMAXREG\.TRY_ALLOC\.CTAPOOL\s+UP\d+,\s*(0x[0-9a-f]+)", sass)]
                self.assertEqual((len(set(given)), len(set(taken))), (1, 1) if threads > 2 * WARPGROUP else (0, 0), (given, taken))
                if given:
                    # One warpgroup loads, the others multiply; more than there were at launch nobody ever gives them.
                    self.assertLessEqual(WARPGROUP * given[0] + (threads - WARPGROUP) * taken[0], at_launch)


class ReaderTest(unittest.TestCase):
    """That the readers find what is wrong."""

    SASS = """
.text.k:
        /*0000*/                   PREEXIT ;
        /*0010*/               @P0 BRA `(.L_x_1) ;
        /*0020*/                   ACQBULK ;
        /*0030*/                   LDG.E R1, desc[UR4][R2.64] ;
        /*0040*/                   EXIT ;
.L_x_1:
        /*0050*/                   UTMALDG.2D [UR8], [UR4] ;
        /*0060*/                   BSSY B0, `(.L_x_2) ;
        /*0070*/              @!P1 BSYNC B0 ;
        /*0080*/                   EXIT ;
.L_x_2:
        /*0090*/                   LDG.E R3, desc[UR4][R2.64] ;
        /*00a0*/                   BRA `(.L_x_2);
"""

    def test_sass(self) -> None:
        found = read_sass(self.SASS, "k").before_wait("ACQBULK")
        self.assertEqual([text for text in found if "LDG" in text],
                         ["UTMALDG.2D [UR8], [UR4]", "LDG.E R3, desc[UR4][R2.64]"])  # fmt: skip
        with self.assertRaisesRegex(ValueError, "where 'BRX R4' goes is not known"):
            read_sass(self.SASS.replace("PREEXIT", "BRX R4"), "k")

    def test_ptx(self) -> None:
        ptx = ".entry k(\n)\n{\n@%p1 bra $L_a;\ngriddepcontrol.wait;\ncp.async.bulk.tensor.b;\nret;\n$L_a:\ncp.async.bulk.tensor.a;\nret;\n}"
        found = read_ptx(ptx).before_wait("griddepcontrol.wait")
        self.assertEqual([text for text in found if text.startswith("cp")], ["cp.async.bulk.tensor.a;"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="where quant-compile is")
    arguments, rest = parser.parse_known_args()
    Context.binaries = arguments.bin.resolve()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
