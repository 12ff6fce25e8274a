"""Reads the IR of stage dispatched and fails where two results that live together overlap in the workspace."""

import re
import sys

BITS = {"f32": 32, "bf16": 16, "i32": 32, "f8E4M3FN": 8, "f8E8M0FNU": 8}


def bytes_of(tensor, tokens):
    *sizes, element = tensor.split("x")
    count = 1
    for size in sizes:
        count *= tokens if size == "?" else int(size)
    return count * BITS[element] // 8


def main():
    lines = sys.stdin.read().split("\n")
    start = next(i for i, line in enumerate(lines) if "func.func @forward" in line)
    body = lines[start : lines.index("  }", start)]
    tokens = int(re.search(r"program.max_tokens = (\d+)", body[0])[1])
    workspace = int(re.search(r"program.workspace_bytes = (\d+)", body[0])[1])
    uses = [re.findall(r"%[\w]+(?:#\d+)?", line.split(" = ", 1)[-1]) for line in body]
    intervals = []
    for place, line in enumerate(body):
        match = re.match(r"\s+(%\w+)(?::\d+)? = program.dispatch .*placement = array<i64: ([-\d, ]+)>}.* -> (.*)", line)
        if not match:
            continue
        offsets = [int(offset) for offset in match[2].split(",")]
        tensors = re.findall(r"tensor<([^>]+)>", match[3])
        assert len(offsets) == len(tensors), line
        for index, (offset, tensor) in enumerate(zip(offsets, tensors)):
            name = match[1] if len(tensors) == 1 else f"{match[1]}#{index}"
            last = max([place] + [other for other in range(place, len(body)) if name in uses[other]])
            if offset >= 0:
                intervals.append((place, last, offset, offset + bytes_of(tensor, tokens), name))
    assert len(intervals) > 20, f"only {len(intervals)} results were found"
    for a in intervals:
        assert a[2] % 64 == 0 and a[3] <= workspace, a
        for b in intervals:
            if a < b and a[0] <= b[1] and b[0] <= a[1]:
                assert a[3] <= b[2] or b[3] <= a[2], f"{a} and {b} live together and overlap"
    used = sum(end - begin for _, _, begin, end, _ in intervals)
    assert used > workspace, "nothing is reused"


main()
