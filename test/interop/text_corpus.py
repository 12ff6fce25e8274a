# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Documents to tokenize: what lies on the disk (prose, code, manuals), and what nobody writes (every kind of Unicode, broken UTF-8); and
our tokens of them."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders of text that a Debian with Python has, the repository first.
FOLDERS = (ROOT, Path(sys.base_prefix) / "lib", Path("/usr/share/doc"), Path("/usr/include"), Path("/usr/share/perl"),
           Path("/usr/share/i18n/locales"), Path("/usr/lib/python3"))  # fmt: skip
SUFFIXES = {".txt", ".md", ".py", ".cpp", ".h", ".c", ".json", ".html", ".pl", ".pm", ".js", ".css", ".rst", ".po", ".td", ".mlir", ""}

#: First and last code points of scripts and kinds.
SCRIPTS = {
    "latin": (0x41, 0x24F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "hebrew": (0x590, 0x5FF), "arabic": (0x600, 0x6FF),
    "devanagari": (0x900, 0x97F), "thai": (0xE00, 0xE7F), "hangul": (0xAC00, 0xD7A3), "kana": (0x3040, 0x30FF), "han": (0x4E00, 0x9FFF),
    "han-extension": (0x20000, 0x2A6DF), "ethiopic": (0x1200, 0x137F), "cherokee": (0x13A0, 0x13FF), "georgian": (0x10A0, 0x10FF),
    "mathematical": (0x1D400, 0x1D7FF), "full-width": (0xFF00, 0xFFEF), "symbols": (0x2000, 0x2BFF), "marks": (0x300, 0x36F),
}  # fmt: skip
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
EMOJI = (0x1F300, 0x1FAFF)


def natural(size: int, seed: int, folders: tuple[Path, ...] = FOLDERS) -> list[bytes]:
    """At least `size` bytes of files, shuffled; a file gives at most 64 KiB from a place of its own."""
    draw = random.Random(seed)
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*"))
             if path.suffix in SUFFIXES and not any(part.startswith(("build", ".git")) for part in path.parts) and path.is_file()]  # fmt: skip
    draw.shuffle(files)
    documents, total = [], 0
    for path in files:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        begin = draw.randrange(max(1, len(data) - (1 << 16)))
        data = data[begin : begin + (1 << 16)]
        if not data or b"\0" in data:
            continue
        documents.append(data)
        total += len(data)
        if total >= size:
            break
    return documents


def anything(draw: random.Random) -> str:
    while 0xD800 <= (code := draw.randrange(0x110000)) <= 0xDFFF:
        pass
    return chr(code)


def words(draw: random.Random) -> str:
    first, last = SCRIPTS[draw.choice(list(SCRIPTS))]
    word = "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 12)))
    return word + draw.choice((" ", " ", " ", "", "\n", ", ", "。", "  "))


def digits(draw: random.Random) -> str:
    kinds = "0123456789", "0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "½¼²³¹", "ⅠⅡⅢⅣ", "𝟘𝟙𝟚", "𖩠𖩡", "一二三"
    number = "".join(draw.choice(draw.choice(kinds[:draw.randint(1, len(kinds))])) for _ in range(draw.randint(1, 11)))
    return draw.choice(("", "-", "$", " ", "x", "v")) + number + draw.choice(("", ".", ",", "e5", "%", "km", " "))


def spaces(draw: random.Random) -> str:
    return "".join(draw.choice(SPACES) for _ in range(draw.randint(1, 9))) + draw.choice(("a", "1", "!", "字", ""))


def emoji(draw: random.Random) -> str:
    one = chr(draw.randint(*EMOJI))
    return draw.choice((one, one + "\u200d" + chr(draw.randint(*EMOJI)), one + chr(draw.randint(0x1F3FB, 0x1F3FF)), one + "\ufe0f", "\U0001f1e9\U0001f1ea"))


def punctuation(draw: random.Random) -> str:
    return "".join(draw.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»„“—…،؟、。！？￥§¶±×÷€₿") for _ in range(draw.randint(1, 8))) + draw.choice(("", "abc", " x", "\n\n", "é"))


def code(draw: random.Random) -> str:
    name = "".join(draw.choice("abcdefXYZ_019") for _ in range(draw.randint(1, 9)))
    return draw.choice((f"    {name}({name}, 0x{draw.randrange(1 << 32):x});\n", f"\t\t{name} = [{draw.random()}]\r\n", f"// {name}\n\n\n", f"<{name} id='{name}'/>"))


def marked(draw: random.Random) -> str:
    """Added tokens, whole, cut and doubled."""
    token = draw.choice(("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>", "<｜tool▁calls▁begin｜>", "<think>", "</think>"))
    cut = draw.randrange(len(token) + 1)
    return draw.choice((token, token, token[:cut], token[cut:], token[:cut] + token)) + draw.choice(("", " ", "x", "\n"))


def repeated(draw: random.Random) -> str:
    return draw.choice((" ", "\n", "a", "ab", "字", "=", "0", "😀", "é ", "-")) * draw.choice((2, 3, 17, 40, 41, 300, 2000))


KINDS: tuple[Callable[[random.Random], str], ...] = (anything, words, words, words, digits, spaces, emoji, punctuation, code, marked, repeated)


def broken(data: bytes, draw: random.Random) -> bytes:
    """A byte in fifty cut out, doubled or changed."""
    out = bytearray()
    for byte in data:
        match draw.randrange(150):
            case 0:
                continue
            case 1:
                out += bytes((byte, byte))
            case 2:
                out.append(draw.randrange(256))
            case _:
                out.append(byte)
    return bytes(out)


def made(size: int, seed: int) -> Iterator[bytes]:
    """Documents of one kind or of all, at least `size` bytes together; one in five is broken UTF-8."""
    draw, total = random.Random(seed), 0
    while total < size:
        kinds = draw.choice((KINDS, KINDS, (draw.choice(KINDS),)))
        limit = draw.choice((1, 4, 20, 200, 2000))
        text = "".join(draw.choice(kinds)(draw) for _ in range(draw.randint(0, limit)))
        data = text.encode()[: 1 << 16]
        if draw.randrange(5) == 0:
            data = broken(data, draw)
        total += len(data)
        yield data


def ours(tool: Path, file: Path, documents: list[bytes], rounds: int = 1) -> tuple[list[list[int]], list[float]]:
    """The tokens of documents by `tool`, encode-documents, with a tokenizer's file or folder; and seconds of each round."""
    text = b"".join(struct.pack("<I", len(data)) + data for data in documents)
    done = subprocess.run([tool, file, str(rounds)], input=text, capture_output=True, check=True)
    numbers, lists, at = array("i", done.stdout), [], 0
    for _ in documents:
        lists.append(numbers[at + 1 : at + 1 + numbers[at]].tolist())
        at += 1 + numbers[at]
    return lists, [float(line) for line in done.stderr.split()]
