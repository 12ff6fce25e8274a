# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads, changes and writes module files (docs/module-format.md), hashes made true again."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADER, ENTRY, ALIGNMENT = 64, struct.Struct("<48sQQQ"), 4096


@functools.lru_cache(16)
def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def read_sections(path: Path) -> dict[str, bytes]:
    data = path.read_bytes()
    count = int.from_bytes(data[16:20], "little")
    sections = {}
    for index in range(count):
        name, offset, size, _ = ENTRY.unpack_from(data, HEADER + index * ENTRY.size)
        sections[name.rstrip(b"\0").decode()] = data[offset : offset + size]
    return sections


def write_sections(path: Path, sections: dict[str, bytes]) -> None:
    position = HEADER + ENTRY.size * len(sections)
    table, body = b"", b""
    for name, data in sections.items():
        padding = -(position + len(body)) % ALIGNMENT
        body += b"\0" * padding
        table += ENTRY.pack(name.encode(), position + len(body), len(data), fnv1a(data))
        body += data
    header = struct.pack("<4sIQIIQ", b"QMOD", 1, position + len(body), len(sections), 0, fnv1a(table))
    path.write_bytes(header.ljust(HEADER, b"\0") + table + body)


def edit_json(source: Path, target: Path, section: str, edit: Callable[[Any], None]) -> Path:
    """Writes `source` to `target` with one JSON section changed."""
    sections = read_sections(source)
    document = json.loads(sections[section])
    edit(document)
    sections[section] = json.dumps(document).encode()
    write_sections(target, sections)
    return target
