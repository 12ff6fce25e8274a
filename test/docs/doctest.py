"""Runs the examples of the documentation: doctest.py SOURCE SCRATCH QUANT_OPT.

- Every ```mlir block of the .td files and of docs/*.md must verify and round-trip. A block without a function (or kernel) gets one
  around it: a value that it does not define becomes an argument. The types in front of the arrow belong to the operands in
  their order, but for PER_TOKEN, whose type no op prints; operands that are left over are of type index. A kernel that it dispatches
  is declared.
- Every line `quant-opt ...` or `quant-compile ...` of a block without a language in the .td files, and of a ```sh block in
  docs/*.md, must succeed, with the inputs below. (quant-compile only where it has been built.)
"""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys

#: Lists with a number for each token.
PER_TOKEN = dict.fromkeys(("%positions", "%sequences"), "tensor<?xi32>")
OPENING = {"<": ">", "(": ")", "[": "]", "{": "}"}


def blocks(path):
    """(line number, language, text) of each fenced block."""
    language, start, lines = None, 0, []
    for number, line in enumerate(path.read_text().split("\n"), 1):
        fence = re.fullmatch(r"\s*```(\w*)", line)
        if not fence:
            lines.append(line)
        elif language is None:
            language, start, lines = fence[1], number + 1, []
        else:
            yield start, language, "\n".join(lines)
            language = None
    assert language is None, f"{path}: a fenced block is not closed"


def split_outside(text, separator):
    """Splits where `separator` stands outside of brackets and strings."""
    parts, closers, quoted, last = [], [], False, 0
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif quoted or text[index - 1 : index + 1] == "->":
            continue
        elif char in OPENING:
            closers.append(OPENING[char])
        elif closers and char == closers[-1]:
            closers.pop()
        elif not closers and text.startswith(separator, index):
            parts.append(text[last:index])
            last = index + len(separator)
    return parts + [text[last:]]


def statements(text):
    """One text for each op: a line that is indented deeper continues the one before."""
    indent = len(text) - len(text.lstrip(" \n"))
    first = re.match(r"\s*\n", text)
    indent -= first.end() if first else 0
    result = []
    for line in text.split("\n"):
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            result.append(line)
        elif line.strip():
            result[-1] += " " + line.strip()
    return result


def operand_types(signature):
    """The types in front of `->` or `to`."""
    inputs = re.split(r" to ", split_outside(signature.strip(), "->")[0])[0].strip()
    if inputs.startswith("(") and inputs.endswith(")"):
        inputs = inputs[1:-1]
    return [part.strip() for part in split_outside(inputs, ",") if part.strip()]


def wrap(text):
    """The block in a function whose arguments are what it does not define."""
    if "func.func" in text or "hopper.kernel" in text:
        return text
    defined, arguments, kernels = set(), {}, []
    for statement in statements(text):
        head, *signature = split_outside(statement, " : ")
        names, op = head.split(" = ", 1) if head.strip().startswith("%") else ("", head)
        types = operand_types(signature[0]) if signature else []
        operands = re.findall(r"%\w+", op)
        typed = [operand for operand in operands if operand not in PER_TOKEN]
        known = PER_TOKEN | dict(zip(reversed(typed[: len(types)]), reversed(types[: len(typed)])))
        for operand in operands:
            if operand not in defined:
                arguments.setdefault(operand, known.get(operand, "index"))
        kernels += [f"func.func private {name}{signature[0].strip()}" for name in re.findall(r"program\.dispatch (@\w+)", op)]
        defined.update(re.findall(r"%\w+", names))
    listed = ", ".join(f"{name}: {type}" for name, type in arguments.items())
    return f"func.func @example({listed}) {{\n{text}\nreturn\n}}\n" + "\n".join(kernels)


def run(command, where, cwd=None, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode == 0:
        return True
    print(f"{where}: {shlex.join(command)} fails:\n{done.stderr}")
    if text:
        print(text)
    return False


def make_inputs(source, scratch, quant_opt):
    """The files that the examples name."""
    scratch.mkdir(parents=True, exist_ok=True)
    mlp = source / "test/stages/mlp.mlir"
    for name in ("mlp", "model"):
        (scratch / f"{name}.mlir").write_text(mlp.read_text())
    for name in ("attention", "experts"):
        flag = {"attention": "mla"}.get(name, name)
        (scratch / f"{name}.mlir").write_text((source / f"test/passes/deepseek-decompose-{flag}.mlir").read_text())
    (scratch / "kernel.mlir").write_text((source / "test/lowering/target/sm90/lower-hopper-to-nvvm.mlir").read_text())
    for stage in ("fused", "dispatched", "tiled"):
        subprocess.run([quant_opt, mlp, f"--stage={stage}", "-o", scratch / f"{stage}.mlir"], check=True)
    for folder in ("models", "test"):
        if not (scratch / folder).exists():
            (scratch / folder).symlink_to(source / folder)
    (scratch / "kernels.mlir").write_text((scratch / "dispatched.mlir").read_text())


def main():
    source, scratch, quant_opt = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), sys.argv[3]
    make_inputs(source, scratch, quant_opt)
    counts, failures = {"examples": 0, "commands": 0}, 0
    definitions = sorted(path for folder in ("dialects", "passes", "lowering") for path in (source / folder).rglob("*.td"))
    for path in definitions + sorted((source / "docs").glob("*.md")):
        shell = "" if path.suffix == ".td" else "sh"
        for line, language, text in blocks(path):
            where = f"{path.relative_to(source)}:{line}"
            if language == "mlir":
                counts["examples"] += 1
                failures += not run([quant_opt, "--verify-roundtrip", "-o", "/dev/null"], where, text=wrap(text))
            elif language == shell:
                for command in (shlex.split(line, comments=True) for line in text.split("\n")):
                    if command[:1] == ["quant-opt"]:
                        command = [quant_opt, *command[1:], "-o", "/dev/null"]
                    elif command[:1] != ["quant-compile"] or not shutil.which("quant-compile"):
                        continue
                    counts["commands"] += 1
                    failures += not run(command, where, cwd=scratch)
    print(f"{counts['examples']} examples, {counts['commands']} commands, {failures} failures")
    # A parser that finds nothing would pass everything.
    return failures > 0 or counts["examples"] < 25 or counts["commands"] < 12


sys.exit(main())
