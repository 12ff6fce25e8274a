#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prints the table of tools/text/newer_characters.cpp: characters that the regular expressions of the PyPI package `tokenizers`
(Oniguruma) and Debian 12's PCRE2 see differently, mostly because PCRE2 10.42 knows Unicode 14 only.

    python test/interop/make_unicode_table.py       # takes a minute and a half; needs tokenizers, and libpcre2-8 of Debian 12

Each range comes with a stand-in: a character of as many bytes that both see as tokenizers sees the range.
"""

from __future__ import annotations

import ctypes

from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf".split()
CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
PCRE2_UTF, PCRE2_UCP = 0x00080000, 0x00020000
#: By bytes in UTF-8 and category. None is in an explicit range of DeepSeek's patterns but those that hold nearly all of three bytes.
STAND_INS = {
    3: {"Lu": 0xA7C2, "Ll": 0xA7C3, "Lm": 0x1D2C, "Lo": 0x0E01, "Mn": 0x0E31, "Mc": 0x0903, "Po": 0x2020, "So": 0x2100, "Cf": 0x200B},
    4: {"Lu": 0x1D400, "Ll": 0x1D41A, "Lm": 0x16F93, "Lo": 0x10000, "Mn": 0x1D167, "Mc": 0x11000, "Nd": 0x104A0, "No": 0x10107,
        "Pd": 0x10EAD, "Po": 0x10100, "So": 0x10137, "Sm": 0x1D6C1, "Cf": 0x110BD},
}  # fmt: skip


#: For those of the Han script, which are all letters (Lo) of four bytes.
HAN = 0x20000


def seen_by_tokenizers(pattern: str) -> set[int]:
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    found: set[int] = set()
    for begin in range(0, len(CHARACTERS), 4096):
        text = "".join(map(chr, CHARACTERS[begin : begin + 4096]))
        for piece, _ in split.pre_tokenize_str(text):
            found.update(map(ord, piece))
    return found


def seen_by_pcre2(pattern: str) -> set[int]:
    library, size = ctypes.CDLL("libpcre2-8.so.0"), ctypes.c_size_t
    library.pcre2_compile_8.restype = library.pcre2_match_data_create_8.restype = ctypes.c_void_p
    error, offset = ctypes.c_int(), size()
    code = ctypes.c_void_p(
        library.pcre2_compile_8(
            pattern.encode(), size(len(pattern)), PCRE2_UTF | PCRE2_UCP, ctypes.byref(error), ctypes.byref(offset), None
        )
    )
    match = ctypes.c_void_p(library.pcre2_match_data_create_8(1, None))
    encoded = ((c, chr(c).encode()) for c in CHARACTERS)
    return {c for c, text in encoded if library.pcre2_match_8(code, text, size(len(text)), size(0), 0, match, None) > 0}


def main() -> None:
    category: dict[int, str] = {}  # as tokenizers sees it
    for name in CATEGORIES:
        theirs, ours = seen_by_tokenizers(rf"\p{{{name}}}"), seen_by_pcre2(rf"\p{{{name}}}")
        category.update((c, name) for c in theirs - ours)
    space, our_space = seen_by_tokenizers(r"\s"), seen_by_pcre2(r"\s")
    assert not space - our_space
    category.update((c, "Cf") for c in our_space - space)  # U+180E alone, no white space since Unicode 6.3
    han = seen_by_tokenizers(r"\p{Han}")
    assert all(c in category for c in han - seen_by_pcre2(r"\p{sc:Han}"))
    ranges: list[list] = []
    for c in sorted(category):
        stand_in = HAN if c in han and len(chr(c).encode()) == 4 else STAND_INS[len(chr(c).encode())][category[c]]
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == stand_in:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, stand_in])
    print("\n".join(f"    {{0x{first:05X}, 0x{last:05X}, 0x{stand_in:05X}}}," for first, last, stand_in in ranges))


if __name__ == "__main__":
    main()
