# Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the corpus and the tokenizer of the model from four Debian packages.

    apt-get download bible-kjv bible-kjv-text r-cran-janeaustenr r-cran-tokenizers
    for f in *.deb; do dpkg -x $f root; done
    python3 prepare.py --root root --out data

Writes corpus.json (chapters, with the held-out ones marked), train.npy and heldout.npy (token ids), eval.txt,
eval.tokens.json and tokenizer.json. Everything is a function of the packages alone: no random number is drawn
except from a generator of fixed seed.
"""

import argparse
import hashlib
import json
import lzma
import pathlib
import random
import re
import struct
import subprocess
import zlib

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 1611
HELD_OUT = 20  # one chapter in so many
EVAL_BYTES = 150_000
VOCAB = 1536

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
CHAT = ["<｜User｜>", "<｜Assistant｜>", "<|EOT|>"]

# DeepSeek-V3's pre-tokenizer: digits in threes, CJK runs, then words, punctuation and space.
SPLITS = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]

KJV_BOOKS = """Ge Genesis|Exo Exodus|Lev Leviticus|Num Numbers|Deu Deuteronomy|Josh Joshua|Jdgs Judges|Ruth Ruth|1Sm 1 Samuel|
2Sm 2 Samuel|1Ki 1 Kings|2Ki 2 Kings|1Chr 1 Chronicles|2Chr 2 Chronicles|Ezra Ezra|Neh Nehemiah|Est Esther|Job Job|Psa Psalm|
Prv Proverbs|Eccl Ecclesiastes|SSol Song of Solomon|Isa Isaiah|Jer Jeremiah|Lam Lamentations|Eze Ezekiel|Dan Daniel|Hos Hosea|
Joel Joel|Amos Amos|Obad Obadiah|Jonah Jonah|Mic Micah|Nahum Nahum|Hab Habakkuk|Zep Zephaniah|Hag Haggai|Zec Zechariah|
Mal Malachi|Mat Matthew|Mark Mark|Luke Luke|John John|Acts Acts|Rom Romans|1Cor 1 Corinthians|2Cor 2 Corinthians|Gal Galatians|
Eph Ephesians|Phi Philippians|Col Colossians|1Th 1 Thessalonians|2Th 2 Thessalonians|1Tim 1 Timothy|2Tim 2 Timothy|Titus Titus|
Phmn Philemon|Heb Hebrews|Jas James|1Pet 1 Peter|2Pet 2 Peter|1Jn 1 John|2Jn 2 John|3Jn 3 John|Jude Jude|Rev Revelation"""


# --- R's lazy-load database: length, codec, then a serialized character vector ---------------------------------------

def r_objects(path: pathlib.Path):
    """The objects of an .rdb file in the order in which they stand there, decompressed."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 5] == b"Z":
            codec = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}])
            text = codec.decompress(data[at + 5 :])
        else:
            codec = zlib.decompressobj()
            text = codec.decompress(data[at + 4 :])
        assert len(text) == size
        yield text
        at = len(data) - len(codec.unused_data)


def r_strings(data: bytes) -> list[str]:
    """A serialized (XDR) character vector without attributes."""
    assert data[:2] == b"X\n"
    version, at = struct.unpack_from(">i", data, 2)[0], 14
    if version == 3:
        at += 4 + struct.unpack_from(">i", data, at)[0]
    flags, count = struct.unpack_from(">ii", data, at)
    assert flags & 255 == 16
    at += 8
    strings = []
    for _ in range(count):
        size = struct.unpack_from(">ii", data, at)[1]
        at += 8
        strings.append(data[at : at + max(size, 0)].decode("utf-8"))
        at += max(size, 0)
    return strings


# --- the works, as lists of (chapter, text) --------------------------------------------------------------------------

def reflow(lines: list[str]) -> str:
    """Paragraphs on one line each with an empty line between them; indented lines (verse, addresses) keep theirs."""
    paragraphs, now = [], []
    for line in lines + [""]:
        line = line.rstrip()
        if not line:
            if now:
                verse = sum(l.startswith("  ") for l in now) * 2 > len(now)
                paragraphs.append(("\n" if verse else " ").join(l.strip() for l in now))
            now = []
        else:
            now.append(line)
    return re.sub(r" {2,}", " ", "\n\n".join(paragraphs))


def kjv(root: pathlib.Path):
    names = dict(entry.strip().split(" ", 1) for entry in KJV_BOOKS.replace("\n", "").split("|"))
    out = subprocess.run([root / "usr/bin/bible", "-f", "-p", root / "usr/lib", "gen1:1-rev22:21"], check=True, capture_output=True, text=True)
    chapters: dict[str, list[str]] = {}
    for line in out.stdout.splitlines():
        book, chapter, verse, text = re.match(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)", line).groups()
        chapters.setdefault(f"{names[book]} {chapter}", []).append(f"{verse} {text}")
    return [(name, name + "\n\n" + "\n".join(verses)) for name, verses in chapters.items()]


def novel(title: str, lines: list[str], first: str, last: str | None):
    heading = re.compile(r"(CHAPTER|Chapter) ([IVXLC]+|\d+)\.?$|CHAPTER \d+\. |ETYMOLOGY\.|EXTRACTS|Epilogue$")
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next((i for i, line in enumerate(lines) if last and line.strip().startswith(last)), len(lines))
    chapters, volume = [], ""
    for line in lines[start:end]:
        if re.match(r"VOLUME [IVX]+$", line.strip()):
            volume = line.strip().title().replace("Ii", "II").replace("IIi", "III") + ", "
        elif heading.match(line.strip()):
            chapters.append((f"{title}, {volume}{line.strip()}", [line.strip(), ""]))
        elif chapters:
            chapters[-1][1].append(line)
    return [(name, reflow(body)) for name, body in chapters]


def works(root: pathlib.Path):
    site = root / "usr/lib/R/site-library"
    order = ["emma", "mansfield", "northanger", "persuasion", "pride", "sense"]
    austen = dict(zip(order, (r_strings(o) for o in r_objects(site / "janeaustenr/data/Rdata.rdb"))))
    moby = r_strings(next(r_objects(site / "tokenizers/data/Rdata.rdb")))[0].replace("\r\n", "\n").split("\n")
    return {
        "King James Bible": kjv(root),
        "Emma": novel("Emma", austen["emma"], "VOLUME I", "FINIS"),
        "Mansfield Park": novel("Mansfield Park", austen["mansfield"], "CHAPTER I", "THE END"),
        "Persuasion": novel("Persuasion", austen["persuasion"], "Chapter 1", "Finis"),
        "Pride and Prejudice": novel("Pride and Prejudice", austen["pride"], "Chapter 1", None),
        "Sense and Sensibility": novel("Sense and Sensibility", austen["sense"], "CHAPTER 1", "THE END"),
        "Moby-Dick": novel("Moby-Dick", moby, "ETYMOLOGY.", "End of Project"),
    }


# --- tokenizer -------------------------------------------------------------------------------------------------------

def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(CHAT), special_tokens=[BOS, EOS, PAD],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in [BOS, EOS, PAD]])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in CHAT[:2]])
    tokenizer.add_special_tokens([AddedToken(CHAT[2], normalized=False)])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: pathlib.Path):
    """With merges written as "a b", as DeepSeek's file has them."""
    spec = json.loads(tokenizer.to_str())
    spec["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    spec["model"].pop("ignore_merges", None)
    path.write_text(json.dumps(spec, ensure_ascii=False, indent=1) + "\n")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--root", type=pathlib.Path, required=True, help="where the packages were unpacked")
    options.add_argument("--out", type=pathlib.Path, required=True)
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    rng = random.Random(SEED)
    chapters, report = [], {}
    for work, parts in works(options.root).items():
        assert not any("gutenberg" in text.lower() for _, text in parts)
        held = set(rng.sample(range(len(parts)), max(1, round(len(parts) / HELD_OUT))))
        chapters += [{"work": work, "name": name, "held_out": i in held, "text": text} for i, (name, text) in enumerate(parts)]
        whole = "\n\n".join(text for _, text in parts).encode()
        report[work] = {"chapters": len(parts), "held_out": sorted(parts[i][0] for i in held), "bytes": len(whole),
                        "sha256": hashlib.sha256(whole).hexdigest()}
        print(f"{work:24} {len(parts):5} chapters {len(whole):9} bytes, {len(held)} held out  {report[work]['sha256'][:16]}")
    (options.out / "corpus.json").write_text(json.dumps({"works": report, "chapters": chapters}, ensure_ascii=False))

    tokenizer = train_tokenizer([c["text"] for c in chapters if not c["held_out"]])
    save_tokenizer(tokenizer, options.out / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)

    def encode(held: bool):
        stream, size = [], 0
        for chapter in chapters:
            if chapter["held_out"] == held:
                stream += [bos, *tokenizer.encode(chapter["text"]).ids, eos]
                size += len(chapter["text"].encode())
        return np.array(stream, np.int32), size

    for name, held in (("train", False), ("heldout", True)):
        stream, size = encode(held)
        np.save(options.out / f"{name}.npy", stream)
        print(f"{name}: {size} bytes, {len(stream)} tokens, {size / len(stream):.3f} bytes per token")

    # A part of the held-out chapters, from every work by its share, as one text.
    held = [c for c in chapters if c["held_out"]]
    share = EVAL_BYTES / sum(len(c["text"].encode()) for c in held)
    chosen = []
    for work in report:
        mine = [c for c in held if c["work"] == work]
        rng.shuffle(mine)
        room = share * sum(len(c["text"].encode()) for c in mine)
        taken = [mine[0]]
        for c in mine[1:]:
            if sum(len(t["text"].encode()) for t in taken) + len(c["text"].encode()) <= room:
                taken.append(c)
        chosen += [c for c in held if c in taken]
    text = "\n\n".join(c["text"] for c in chosen) + "\n"
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    (options.out / "eval.txt").write_text(text)
    (options.out / "eval.tokens.json").write_text(json.dumps({
        "file": "eval.txt", "sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text.encode()), "count": len(ids),
        "bos_token_id": bos, "chapters": [c["name"] for c in chosen], "tokens": ids}))
    print(f"eval.txt: {len(chosen)} chapters, {len(text.encode())} bytes, {len(ids)} tokens")


if __name__ == "__main__":
    main()
