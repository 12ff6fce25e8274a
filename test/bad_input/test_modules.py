# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Module files and tokens that quant-run must refuse."""

from __future__ import annotations

import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from module_file import edit_json, read_sections, write_sections
from tamper import CONTEXT, VOCAB, BadInputTest, Context, call, run_model

PLACES = 200


class Modules(BadInputTest):
    """The container, the manifest and the program. Every rule: test/runtime/module/*_test.cpp."""

    def refuse_module(self, module: Path, *texts: str) -> None:
        self.refused(run_model(Context.checkpoint(), module=module), *texts)

    def edited(self, section: str, edit: object) -> Path:
        return edit_json(Context.module(), self.folder / "edited.qmod", section, edit)  # type: ignore[arg-type]

    def test_editing_alone_changes_nothing(self) -> None:
        self.accepted(run_model(Context.checkpoint(), module=self.edited("manifest.json", lambda manifest: None)))

    def write(self, content: bytes, name: str = "spoilt.qmod") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_container(self) -> None:
        good = Context.module().read_bytes()
        self.refuse_module(self.write(b""), "the file is empty")
        self.refuse_module(self.write(good[:63]), "63 bytes, too few for a module's header")
        self.refuse_module(self.write(b"qmod" + good[4:]), "does not begin with 'QMOD'")
        self.refuse_module(self.write(good[:4] + b"\2" + good[5:]), "container version 2, this runtime reads version 1")
        self.refuse_module(self.write(good + b"\0"), "truncated or damaged")
        self.refuse_module(self.write((Context.checkpoint() / "model.safetensors").read_bytes()), "does not begin with 'QMOD'")
        self.refuse_module(Context.checkpoint(), "is a directory, not a regular file")

    def spoil_many(self, make: object, arguments: tuple[str, ...], allow_success: bool) -> None:
        """`make(i)` is a module; running it fails in words, or (if allowed) works."""

        def check(place: int) -> None:
            content, what = make(place)  # type: ignore[operator]
            path = self.write(content, f"{place}.qmod")
            done = run_model(Context.checkpoint(), *arguments, module=path)
            path.unlink()
            with self.subTest(what):
                if not (allow_success and done.returncode == 0):
                    self.refused(done, f"{path}: ")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(check, range(PLACES)))

    def test_inspect_says_what_a_module_is(self) -> None:
        shown = call("quant-convert", "inspect", Context.module())
        self.accepted(shown)
        program = run_model(Context.checkpoint(), "--print-program").stdout.splitlines()[-1]
        producer, hash = re.fullmatch(r"// by (quant-compile \S+); hash ([0-9a-f]{16}) .*", program).groups()  # type: ignore[union-attr]
        for line in ("model       deepseek_v3, fp8, weight_block_size [128,128], n_layers 2, dim 160", f"producer    {producer}",
                     f"hash        {hash} (FNV-1a", "target      host (avx2): "):  # fmt: skip
            self.assertIn("\n" + line, shown.stdout)
        said = json.loads(call("quant-convert", "inspect", "--json", Context.module()).stdout)
        self.assertEqual((said["producer"], said["hash"], said["model"]["dim"]), (producer, hash, 160))
        self.assertEqual([(target["name"], target["isas"]) for target in said["targets"]], [("host", ["avx2"])])
        good = Context.module().read_bytes()
        for name, content, text in (("cut.qmod", good[:-1], "truncated or damaged"), ("a.bin", good[:-1] + b"\1", "the file is damaged"),
                                    ("other.qmod", b"{}", "too few for a module's header"), ("empty.qmod", b"", "is empty")):  # fmt: skip
            self.refused(call("quant-convert", "inspect", self.write(content, name)), f"{name}: ", text)

    def test_truncated_anywhere(self) -> None:
        good = Context.module().read_bytes()
        sizes = [random.randrange(len(good)) for _ in range(PLACES)]
        self.spoil_many(lambda place: (good[: sizes[place]], f"{sizes[place]} bytes"), (), allow_success=False)

    def test_flipped_anywhere(self) -> None:
        """Every bit is under a hash or must be zero, so that no flip goes through."""
        good = Context.module().read_bytes()
        bits = [random.randrange(8 * len(good)) for _ in range(PLACES)]

        def flip(place: int) -> tuple[bytes, str]:
            content = bytearray(good)
            content[bits[place] // 8] ^= 1 << bits[place] % 8
            return bytes(content), f"bit {bits[place]}"

        self.spoil_many(flip, (), allow_success=False)

    def test_flipped_json_with_true_hashes(self) -> None:
        """A flip that makes another legal program is taken: the module is only printed, not run. fuzz_module does more of it."""
        sections = read_sections(Context.module())
        names = [name for name in sections if name.endswith(".json")]
        bits = [(name := random.choice(names), random.randrange(8 * len(sections[name]))) for _ in range(PLACES)]

        def flip(place: int) -> tuple[bytes, str]:
            name, bit = bits[place]
            content = bytearray(sections[name])
            content[bit // 8] ^= 1 << bit % 8
            path = self.folder / f"{place}.tmp"
            write_sections(path, {key: bytes(content) if key == name else value for key, value in sections.items()})
            return path.read_bytes(), f"{name} bit {bit}"

        self.spoil_many(flip, ("--print-program",), allow_success=True)

    def test_wrong_isa(self) -> None:
        run = run_model(Context.checkpoint(), "--isa", "avx512")
        self.refused(run, "good.qmod: the module has no code for isa 'avx512', only for 'avx2'")

        def need_more(manifest: dict) -> None:
            manifest["targets"][0]["objects"][0]["requires"].append("warp_drive")

        module = self.edited("manifest.json", need_more)
        self.refuse_module(module, "the module has no code that this CPU and system can run: 'avx2' needs warp_drive")
        asked = run_model(Context.checkpoint(), "--isa", "avx2", module=module)
        self.refused(asked, "isa 'avx2' cannot run here: the CPU or the system lacks warp_drive")

    def test_no_code_for_cpus(self) -> None:
        def rename(manifest: dict) -> None:
            manifest["targets"][0]["name"] = "gfx90a"

        self.refuse_module(self.edited("manifest.json", rename), "the module has no code of target 'host'")

    def test_program(self) -> None:
        def edited(path: str, value: object) -> Path:
            *keys, last = path.split("/")

            def edit(program: object) -> None:
                for key in keys:
                    program = program[int(key) if key.isdigit() else key]  # type: ignore[index]
                program[int(last) if last.isdigit() else last] = value  # type: ignore[index]

            return self.edited("program.host.json", edit)

        self.refuse_module(edited("dispatches/0/operands/0", 10**6), "is value 1000000, there are ")
        self.refuse_module(edited("workspace_bytes", 2**60), "workspace_bytes is 1152921504606846976")
        self.refuse_module(edited("limits/tokens", 2**40), "'tokens' is 1099511627776")
        self.refuse_module(edited("dispatches/0/grid", ["*", "tokens", 2**62]), "grid")

    def test_role(self) -> None:
        def spoil(program: dict) -> None:
            next(value for value in program["values"] if "role" in value)["role"] = "spice"

        self.refuse_module(self.edited("program.host.json", spoil), "unknown role 'spice'")


class Tokens(BadInputTest):
    """Prompts that do not fit the model."""

    def refuse_tokens(self, tokens: str, *texts: str, arguments: tuple[str, ...] = (), code: int = 1) -> None:
        done = run_model(Context.checkpoint(), "--tokens", tokens, *arguments)
        with self.subTest(tokens[:80]):
            self.refused(done, *texts, code=code)
            self.assertEqual(done.stdout.strip(), "")

    def test_ids(self) -> None:
        self.refuse_tokens(f"1,{VOCAB}", f"token 1 is id {VOCAB}, the vocabulary has 0 to {VOCAB - 1}")
        self.refuse_tokens("2147483647", "token 0 is id 2147483647")
        self.refuse_tokens(" -1", "token 0 is id -1")
        self.refuse_tokens("4294967296", "token 0: '4294967296' is not an integer of 32 bits", code=2)
        self.refuse_tokens("1,two", "token 1: 'two' is not an integer of 32 bits", code=2)
        self.refuse_tokens("", "the prompt is empty", code=2)
        self.refuse_tokens("1,,2", "token 1: nothing stands before the comma", code=2)
        self.refuse_tokens(",1", "token 0: nothing stands before the comma", code=2)
        self.refuse_tokens("1, 2, ", "token 2: nothing stands behind the last comma", code=2)

    def test_context(self) -> None:
        self.refuse_tokens(",".join(["1"] * (CONTEXT + 1)), f"overflow the context of {CONTEXT} rows")
        self.refuse_tokens("1", f"overflow the context of {CONTEXT} rows", arguments=("--max-new-tokens", str(CONTEXT + 1)))
        self.refuse_tokens("1,2,3", "overflow the context of 2 rows", arguments=("--context", "2"))
        too_long = ("--context", str(CONTEXT + 1))
        self.refuse_tokens("1", f"context is {CONTEXT + 1}, not 0 (the default) to {CONTEXT}", arguments=too_long)
        full = run_model(Context.checkpoint(), "--tokens", ",".join(["1"] * CONTEXT), "--max-new-tokens", "1")
        self.accepted(full)

    def test_files_of_tokens(self) -> None:
        self.refuse_tokens("@/nowhere", "cannot read '/nowhere'", code=2)
        path = self.folder / "ids"
        path.write_bytes(b"\xff\x00\x1b[31m")
        self.refuse_tokens(f"@{path}", "token 0: '\\xFF\\x00\\x1B[31m' is not an integer of 32 bits", code=2)
