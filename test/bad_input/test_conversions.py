# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checkpoints that quant-convert's subcommands must refuse, and those odd ones that they take."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np

from tamper import INDEX, SCALE, WEIGHT, BadInputTest, Tensors, call, read_tensors
from test_writing import limit_file_size

#: Those that read any checkpoint; cast-fp8 wants weights that are not FP8 yet.
COMMANDS = ("cast-bf16", "cast-fp8", "dequantize", "shard", "inspect", "compare")


class Conversions(BadInputTest):
    """Each through every subcommand that reads it. Every rule: cast_errors_test, shard_test, inspect_test, compare_test."""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def arguments(self, command: str, source: Path) -> tuple[str | Path, ...]:
        weights = self.folder / "weights.txt"
        weights.write_text(WEIGHT + "\n")
        return {
            "cast-bf16": ("--input-fp8-hf-path", source, "--output-bf16-hf-path", self.out),
            "cast-fp8": ("--input-bf16-hf-path", source, "--output-fp8-hf-path", self.out, "--weights-list", weights),
            "shard": ("--hf-ckpt-path", source, "--save-path", self.out, "--n-experts", "4", "--model-parallel", "2",
                      "--requantize"),
            "dequantize": (source, self.out),
            "inspect": (source,),
            "compare": (source, source),
        }[command]  # fmt: skip

    def refuse(self, source: Path, *texts: str, commands: tuple[str, ...] = COMMANDS) -> None:
        for command in commands:
            with self.subTest(command=command, texts=texts):
                done = call("quant-convert", command, *self.arguments(command, source))
                self.refused(done, *texts)
                self.assertFalse(self.out.exists(), "nothing is written before the input is known to be sound")

    def take(self, source: Path, *commands: str) -> None:
        for command in commands:
            with self.subTest(command=command):
                self.accepted(call("quant-convert", command, *self.arguments(command, source)))
                shutil.rmtree(self.out, ignore_errors=True)

    def plain(self, element: int = 0x3F80) -> Path:
        """A checkpoint whose WEIGHT is bf16, with one element of these bits."""

        def spoil(tensors: Tensors) -> None:
            del tensors[SCALE]
            weight = np.full((160, 144), 0x3F80, "<u2")
            weight[7, 11] = element
            tensors[WEIGHT] = "BF16", weight

        return self.spoilt(spoil)

    # Files and indices

    def test_good(self) -> None:
        self.take(self.copy(), "cast-bf16", "dequantize", "shard", "inspect", "compare")
        self.take(self.plain(), "cast-fp8")

    def test_no_checkpoint(self) -> None:
        empty = self.folder / "empty"
        empty.mkdir()
        self.refuse(empty, f"{empty}: holds neither model.safetensors nor {INDEX}")
        self.refuse(self.folder / "nowhere", "nowhere: cannot open: No such file or directory")

    def test_damaged_file(self) -> None:
        copy = self.copy()
        path = copy / "model.safetensors"
        good = path.read_bytes()
        for content, text in (
            (good[:5], "too short for a safetensors file: 5 bytes"),
            (good[:-1], "truncated: tensor "),
            (good + b"\0", "1 byte"),
            (b"\xff" * 8 + good[8:], "header length 18446744073709551615 is beyond the format's limit"),
        ):
            path.write_bytes(content)
            self.refuse(copy, "model.safetensors: ", text)

    def test_fifo_folder_and_dangling_link(self) -> None:
        for make, text in (
            (os.mkfifo, "is a FIFO, not a regular file"),
            (Path.mkdir, "is a directory, not a regular file"),
            (lambda path: path.symlink_to("nowhere"), "is a symlink to a file that is not there; download it again"),
        ):
            copy = self.copy()
            (copy / "model.safetensors").unlink()
            make(copy / "model.safetensors")
            self.refuse(copy, f"model.safetensors: {text}")

    def test_fifo_as_config(self) -> None:
        copy = self.copy()
        (copy / "config.json").unlink()
        os.mkfifo(copy / "config.json")
        self.refuse(copy, "config.json: is a FIFO, not a regular file", commands=("cast-bf16", "shard", "inspect", "compare"))

    def test_missing_shard(self) -> None:
        copy = self.sharded()
        (copy / "b.safetensors").unlink()
        self.refuse(copy, "shard 'b.safetensors', which the index names for tensor ", "is missing; download it")

    def test_index_that_leaves_the_folder(self) -> None:
        for name in ("../other.safetensors", "/etc/passwd"):
            copy = self.sharded()
            self.write_index(copy, self.read_index(copy) | {WEIGHT: name})
            self.refuse(copy, f"{INDEX}: ", "which is not the plain name of a file in the checkpoint's folder")

    def test_index_and_shards_disagree(self) -> None:
        copy = self.sharded()
        weights = self.read_index(copy)
        self.write_index(copy, weights | {"model.extra": "a.safetensors"})
        self.refuse(copy, "tensor 'model.extra' is not in 'a.safetensors' nor in any other shard")
        del weights[SCALE]
        self.write_index(copy, weights)
        self.refuse(copy, f"tensor '{SCALE}' of ", "is not in the index, which is stale; download it again")

    def test_tensor_in_two_shards(self) -> None:
        copy = self.sharded()
        (copy / "b.safetensors").unlink()
        (copy / "b.safetensors").hardlink_to(copy / "a.safetensors")
        self.refuse(copy, "is in two shards, 'a.safetensors' and 'b.safetensors'")

    def test_index_of_wrong_types(self) -> None:
        for text in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": 1}}'):
            copy = self.sharded()
            (copy / INDEX).write_text(text)
            self.refuse(copy, f"{INDEX}: ")

    # Weights and scales

    def test_missing_orphan_and_misshaped_scales(self) -> None:
        reads = ("cast-bf16", "dequantize", "shard", "inspect")
        without = self.spoilt(lambda tensors: tensors.pop(SCALE))
        self.refuse(without, f"tensor '{WEIGHT}'", "scale", commands=reads)
        orphan = self.spoilt(lambda tensors: tensors.pop(WEIGHT))
        self.refuse(orphan, f"tensor '{SCALE}'", f"'{WEIGHT}'", commands=reads)
        wrong = self.spoilt(lambda tensors: tensors.update({SCALE: ("F32", np.ones((1, 2), "<f4"))}))
        self.refuse(wrong, "scale", "1", commands=reads)
        typed = self.spoilt(lambda tensors: tensors.update({SCALE: ("I32", np.ones((2, 2), "<i4"))}))
        self.refuse(typed, "I32", commands=reads)

    def test_scales_that_are_no_numbers(self) -> None:
        for value, text in ((np.nan, "nan"), (np.inf, "inf"), (-0.5, "-0.5")):

            def spoil(tensors: Tensors, value: float = value) -> None:
                tensors[SCALE][1][1, 0] = value

            casts = ("cast-bf16", "dequantize", "shard")
            self.refuse(self.spoilt(spoil), f"tensor '{SCALE}': block [1, 0] has scale {text}", commands=casts)
            self.refuse(self.spoilt(spoil), f"tensor '{SCALE}'", commands=("inspect",))

    def test_zero_blocks_and_zero_scales(self) -> None:
        """Both mean a block of zeros: a warning of inspect, and taken by all."""

        def spoil(tensors: Tensors) -> None:
            tensors[WEIGHT][1][:128, :128] = 0
            tensors[SCALE][1][0, 0] = 0

        self.take(self.spoilt(spoil), "cast-bf16", "dequantize", "shard", "inspect", "compare")

    def refuse_while_writing(self, command: str, source: Path, *texts: str) -> None:
        """Values are looked at as they are converted: nothing appears."""
        with self.subTest(command=command):
            self.refused(call("quant-convert", command, *self.arguments(command, source)), *texts)
            self.assertEqual(list(self.out.iterdir()), [])
            shutil.rmtree(self.out)

    def test_codes_that_are_nan(self) -> None:
        for code in (0x7F, 0xFF):
            spoilt = self.spoilt(lambda tensors: tensors[WEIGHT][1].__setitem__((3, 5), code))
            for command in ("cast-bf16", "dequantize", "shard"):
                self.refuse_while_writing(command, spoilt, f"tensor '{WEIGHT}': element [3, 5] is NaN; is the file damaged?")
            checked = call("quant-convert", "inspect", spoilt, "--check-values")
            self.refused(checked, f"tensor '{WEIGHT}' has NaN codes: 1 of 23040 values")

    def test_weights_that_have_no_fp8_form(self) -> None:
        for bits, text in ((0x7FC0, "is NaN"), (0x7F80, "is infinite"), (0xFF80, "is infinite")):
            self.refuse_while_writing("cast-fp8", self.plain(bits), f"tensor '{WEIGHT}': element [7, 11] {text}, which has no FP8")

    # Writing

    def test_no_room(self) -> None:
        for command in ("cast-bf16", "shard"):
            done = call("quant-convert", command, *self.arguments(command, self.copy()), preexec_fn=limit_file_size)
            self.refused(done, "File too large")
            self.assertEqual(list(self.out.iterdir()), [])
            shutil.rmtree(self.out)

    def test_output_is_input(self) -> None:
        copy = self.copy()
        before = (copy / "model.safetensors").read_bytes()
        for output in (copy, copy / ".." / copy.name):
            done = call("quant-convert", "cast-bf16", "--input-fp8-hf-path", copy, "--output-bf16-hf-path", output, "--force")
            self.refused(done, "is the folder that is read from; choose another --output-bf16-hf-path")
        self.assertEqual((copy / "model.safetensors").read_bytes(), before)
        self.assertEqual(set(read_tensors(copy)), set(read_tensors(self.copy())))

    def test_output_cannot_be_written(self) -> None:
        file = self.folder / "file"
        file.write_text("x")
        source = self.copy()
        for output, text in ((file, "is not a folder"), (file / "below", "Not a directory"), (Path("/proc/x"), "/proc/x: ")):
            done = call("quant-convert", "cast-bf16", "--input-fp8-hf-path", source, "--output-bf16-hf-path", output)
            self.refused(done, text)

    def test_state_of_a_run_that_is_none(self) -> None:
        for text in ("", "[]", json.dumps({"fingerprint": 1})):
            self.out.mkdir()
            (self.out / ".quant-convert.json").write_text(text)
            done = call("quant-convert", "cast-bf16", *self.arguments("cast-bf16", self.copy()))
            self.refused(done, "start over with --force")
            shutil.rmtree(self.out)
