"""Applies the blocks of docs/extending.md that name a file: apply.py SOURCE TARGET.

A block whose first line is a comment with a path (`// passes/Passes.td`) goes into a copy of that file under TARGET: a new file as
it is, an existing .td before its #endif, a row at the end of the table of schemes, an existing .cpp at its end.
"""

import pathlib
import re
import sys

PATH = re.compile(r"// ([\w/.-]+\.(?:td|cpp|h|mlir))\n")


def blocks(page):
    """(path, text) of each block that names a file."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if name := PATH.match(block):
            yield name[1], block[name.end() :]


def added(old, text, name):
    if name == "runtime/support/scheme.cpp":
        before, end, after = old.partition("};\n// clang-format on")
        assert end, f"{name} has no table"
        return f"{before}{text}{end}{after}"
    if name.endswith(".td"):
        before, end, after = old.rpartition("#endif")
        assert end, f"{name} has no #endif"
        return f"{before}{text}\n{end}{after}"
    return f"{old}\n{text}"


def main():
    source, target = (pathlib.Path(argument) for argument in sys.argv[1:])
    files = {}
    # A block in a .td holds blocks of its own: fences that are indented stay.
    for name, text in blocks((source / "docs/extending.md").read_text()):
        old = files.get(name) or ((source / name).read_text() if (source / name).exists() else None)
        files[name] = text if old is None else added(old, text, name)
    for name, text in files.items():
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    print("\n".join(sorted(files)))


main()
