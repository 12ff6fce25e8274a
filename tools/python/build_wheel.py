#!/usr/bin/env python3
# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Packs quantcompiler into a wheel: the Python files beside this script, libquant.so, and the tools that it runs. The wheel is for
every Python from 3.9 on, since ctypes needs no extension module; its tag says the oldest glibc that all of it runs with (PEP 600).

    python3 tools/python/build_wheel.py --library libquant.so --tools build/bin --version 0.1.0 --out build/wheel [--with-llvm]

The same files give the same wheel, byte for byte. Tools that are not in the folder are left out (a build without the compiler).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parent / "quantcompiler"
TOOLS = ("quant-compile", "quant-convert")

#: What PEP 600 lets a wheel expect of any system.
SYSTEM = re.compile(r"(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libz)\.so")

#: Debian's packages whose code is in the binaries, for their notices.
NOTICES = ("libpcre2-dev", "libfmt-dev", "nlohmann-json3-dev", "libexpected-dev", "libcli11-dev", "libeigen3-dev", "libstdc++-12-dev")

METADATA = """\
Metadata-Version: 2.1
Name: quantcompiler
Version: {version}
Summary: Compiled DeepSeek models: answers, logits, tokenizer, compiler and converter
License: Apache-2.0 WITH LLVM-exception
Requires-Python: >=3.9
Provides-Extra: logits
Requires-Dist: numpy; extra == "logits"
Description-Content-Type: text/markdown

{description}"""

WHEEL = """\
Wheel-Version: 1.0
Generator: tools/python/build_wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""


def run(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def dependencies(binary: Path) -> list[Path]:
    """The shared libraries that a binary needs, at first and second hand, beside those of every system."""
    found = re.findall(r"^\s*(\S+) => (\S+)", run("ldd", binary), re.MULTILINE)
    missing = [name for name, path in found if path == "not"]
    if missing:
        raise SystemExit(f"error: {binary} needs {', '.join(missing)}, which this machine lacks")
    return [Path(path) for name, path in found if not SYSTEM.match(name)]


def oldest_glibc(binaries: list[Path]) -> tuple[int, int]:
    """The newest version of glibc's symbols that any of them asks for."""
    versions = {(2, 17)}
    for binary in binaries:
        versions |= {tuple(map(int, pair)) for pair in re.findall(r"\bGLIBC_(\d+)\.(\d+)", run("readelf", "-VW", binary))}
    return max(versions)


def stripped(source: Path, folder: Path) -> Path:
    """A copy without what only a linker or debugger reads."""
    copy = folder / source.name
    shutil.copy(source, copy)
    run("strip", "--strip-unneeded", copy)
    return copy


class Wheel:
    """Files by their name in the wheel."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, bool]] = {}

    def add(self, name: str, data: bytes, executable: bool = False) -> None:
        self.files[name] = (data, executable)

    def write(self, path: Path, info: str) -> None:
        record = ""
        for name, (data, _) in sorted(self.files.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
        self.add(f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode())
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, (data, executable) in sorted(self.files.items(), key=lambda item: (item[0].startswith(info), item[0])):
                entry = zipfile.ZipInfo(name)  # of 1980: the same files give the same wheel
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100755 if executable else 0o100644) << 16
                archive.writestr(entry, data)


def build(library: Path, tools: Path, version: str, out: Path, with_llvm: bool) -> Path:
    wheel = Wheel()
    for source in sorted(PACKAGE.glob("*.py")) + [PACKAGE / "py.typed"]:
        wheel.add(f"quantcompiler/{source.name}", source.read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        packed = [stripped(source, Path(scratch)) for source in [library, *(tools / name for name in TOOLS)] if source.exists()]
        libraries = sorted({path for binary in packed for path in dependencies(binary)} if with_llvm else [])
        for binary in packed:
            tool = binary.name in TOOLS
            wheel.add(f"quantcompiler/{'bin/' if tool else ''}{binary.name}", binary.read_bytes(), executable=tool)
        for path in libraries:
            wheel.add(f"quantcompiler/lib/{path.name}", path.read_bytes())
        glibc = oldest_glibc(packed + libraries)
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_x86_64"
    info = f"quantcompiler-{version}.dist-info"
    description = (ROOT / "docs" / "python.md").read_text()
    wheel.add(f"{info}/METADATA", METADATA.format(version=version, description=description).encode())
    wheel.add(f"{info}/WHEEL", WHEEL.format(tag=tag).encode())
    wheel.add(f"{info}/LICENSE", (ROOT / "LICENSE").read_bytes())
    for notice in (Path("/usr/share/doc", package, "copyright") for package in NOTICES + (("llvm-22-dev",) if with_llvm else ())):
        if notice.exists():
            wheel.add(f"{info}/licenses/{notice.parent.name}", notice.read_bytes())
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("quantcompiler-*.whl"):
        old.unlink()
    path = out / f"quantcompiler-{version}-{tag}.whl"
    wheel.write(path, info)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="libquant.so")
    parser.add_argument("--tools", type=Path, required=True, metavar="DIR", help="folder of quant-compile and quant-convert")
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the wheel; older ones there go")
    parser.add_argument("--with-llvm", action="store_true", help="LLVM, MLIR and what they need, too, for machines without them")
    arguments = parser.parse_args()
    path = build(arguments.library, arguments.tools, arguments.version, arguments.out, arguments.with_llvm)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
