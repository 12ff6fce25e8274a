# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""models/tiny, compiled for this CPU, for tests that speak text."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "models" / "tiny"


class Tiny:
    """The module lies in a folder that goes away with the object. `options` are quant-compile's."""

    def __init__(self, binaries: Path, *options: str) -> None:
        self.binaries = binaries.resolve()
        self.folder = tempfile.TemporaryDirectory(prefix="quant-tiny-")
        self.module = Path(self.folder.name) / "tiny.qmod"
        compile_it = [self.binaries / "quant-compile", CHECKPOINT, "--host-isa=native", *options, "-o", self.module]
        subprocess.run(compile_it, check=True, capture_output=True, timeout=300)

    def command(self, tool: str, *arguments: object, weights: Path = CHECKPOINT) -> list[str]:
        return [str(self.binaries / tool), str(self.module), "--weights", str(weights), *map(str, arguments)]
