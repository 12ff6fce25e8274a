# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Safetensors files and indices that quant-run and quant-compile must refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tamper import INDEX, SCALE, WEIGHT, BadInputTest, compile_model, header_of, run_model, safetensors_bytes


class Headers(BadInputTest):
    """The safetensors header and its promises about the data. Every rule: test/runtime/checkpoint/header_test.cpp."""

    def refuse_file(self, content: bytes, *texts: str) -> None:
        copy = self.copy()
        (copy / "model.safetensors").write_bytes(content)
        for done in (run_model(copy), compile_model(copy, self.folder / "x.qmod")):
            with self.subTest(done.args[0]):
                self.refused(done, "model.safetensors: ", *texts)
        self.assertFalse((self.folder / "x.qmod").exists())

    def test_length(self) -> None:
        good = (self.copy() / "model.safetensors").read_bytes()
        self.refuse_file(b"", "too short for a safetensors file: 0 bytes")
        self.refuse_file(good[:7], "too short for a safetensors file: 7 bytes")
        self.refuse_file(b"\xff" * 8 + good[8:], "header length 18446744073709551615 is beyond the format's limit")
        self.refuse_file((100_000_001).to_bytes(8, "little") + good[8:], "header length 100000001 is beyond the format's limit")
        size = len(good)
        self.refuse_file(
            size.to_bytes(8, "little") + good[8:], f"truncated: header length {size} reaches beyond the file of {size} bytes"
        )

    def test_text(self) -> None:
        self.refuse_file(safetensors_bytes(b'{"\xff": 1}'), "ill-formed UTF-8 byte")
        self.refuse_file(safetensors_bytes(b"{}\0\0"), "line 1, column 3")
        self.refuse_file(safetensors_bytes(b"{"), "line 1")
        self.refuse_file(safetensors_bytes(b"[" * 100_000), "header must begin with '{', found '['")
        self.refuse_file(safetensors_bytes(b'{"a":' * 100_000), "line 1")
        self.refuse_file(safetensors_bytes(b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 1]}}', b"x"), "F99")

    def test_duplicate_names(self) -> None:
        entry = b'{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'
        self.refuse_file(safetensors_bytes(b'{"a": ' + entry + b', "\\u0061": ' + entry + b"}", b"x"), "'a'")

    def test_data(self) -> None:
        good = (self.copy() / "model.safetensors").read_bytes()
        self.refuse_file(good[:-1], "truncated: tensor ", "; download it again")
        self.refuse_file(good + b"\0", "1 byte")

        def with_entry(**changes: object) -> bytes:
            header, data = header_of(self.copy() / "model.safetensors")
            header[WEIGHT] |= changes
            return safetensors_bytes(json.dumps(header).encode(), data)

        begin, end = header_of(self.copy() / "model.safetensors")[0][WEIGHT]["data_offsets"]
        self.refuse_file(with_entry(data_offsets=[begin - 1, end - 1]), "tensor")
        self.refuse_file(with_entry(data_offsets=[end, begin]), f"'{WEIGHT}'")
        self.refuse_file(with_entry(data_offsets=[begin, 2**64 - 1]), f"'{WEIGHT}'")
        self.refuse_file(with_entry(shape=[2**32, 2**32]), f"'{WEIGHT}'")
        self.refuse_file(with_entry(shape=[1]), f"'{WEIGHT}'")
        self.refuse_file(with_entry(shape=[-160, -144]), f"'{WEIGHT}'")
        self.refuse_file(with_entry(dtype="BF16"), f"'{WEIGHT}'")


class Files(BadInputTest):
    """Things that are not the regular file one expects. A FIFO must not hang (the timeout of every call)."""

    def replace(self, checkpoint: Path, make: object) -> Path:
        path = checkpoint / "model.safetensors"
        path.unlink()
        make(path)  # type: ignore[operator]
        return checkpoint

    def test_no_checkpoint(self) -> None:
        self.refused(run_model(self.folder / "nowhere"), "nowhere: cannot open: No such file or directory")
        self.refused(run_model(Path("/dev/null")), "/dev/null: is a device, not the folder of a checkpoint")
        empty = self.folder / "empty"
        empty.mkdir()
        self.refused(run_model(empty), f"{empty}: holds neither model.safetensors nor {INDEX}")

    def test_fifo(self) -> None:
        copy = self.replace(self.copy(), os.mkfifo)
        self.refused(run_model(copy), "model.safetensors: is a FIFO, not a regular file")
        self.refused(compile_model(copy, self.folder / "x.qmod"), "model.safetensors: is a FIFO, not a regular file")

    def test_fifo_as_config_index_and_module(self) -> None:
        copy = self.copy()
        (copy / "config.json").unlink()
        os.mkfifo(copy / "config.json")
        self.refused(compile_model(copy, self.folder / "x.qmod"), "config.json: is a FIFO, not a regular file")
        os.mkfifo(copy / INDEX)
        self.refused(run_model(copy), f"{INDEX}: is a FIFO, not a regular file")
        self.refused(run_model(copy, module=copy / INDEX), f"{INDEX}: is a FIFO, not a regular file")

    def test_folder_and_device(self) -> None:
        self.refused(run_model(self.replace(self.copy(), Path.mkdir)), "model.safetensors: is a directory, not a regular file")
        zero = self.replace(self.copy(), lambda path: path.symlink_to("/dev/zero"))
        self.refused(run_model(zero), "model.safetensors: is a device, not a regular file")

    def test_unreadable(self) -> None:
        if os.geteuid() == 0:
            self.skipTest("root reads everything")
        copy = self.copy()
        (copy / "model.safetensors").chmod(0)
        self.refused(run_model(copy), "model.safetensors: cannot open: Permission denied")

    def test_symlinks_are_followed(self) -> None:
        """As in the Hugging Face cache, where snapshots/*/model.safetensors points to ../../blobs/*."""
        blob = self.folder / "blob"
        shutil.copy(self.copy() / "model.safetensors", blob)
        self.accepted(run_model(self.replace(self.copy(), lambda path: path.symlink_to(blob))))
        dangling = self.replace(self.copy(), lambda path: path.symlink_to("nowhere"))
        self.refused(run_model(dangling), "model.safetensors: is a symlink to a file that is not there; download it again")
        loop = self.replace(self.copy(), lambda path: path.symlink_to(path))
        self.refused(run_model(loop), "model.safetensors: cannot open: Too many levels of symbolic links")

    def test_hard_links_are_files(self) -> None:
        other = self.copy() / "model.safetensors"
        self.accepted(run_model(self.replace(self.copy(), lambda path: path.hardlink_to(other))))


class Indices(BadInputTest):
    """model.safetensors.index.json against its shards. Every rule: test/runtime/checkpoint/checkpoint_test.cpp."""

    def refuse_index(self, checkpoint: Path, *texts: str) -> None:
        for done in (run_model(checkpoint), compile_model(checkpoint, self.folder / "x.qmod")):
            with self.subTest(done.args[0]):
                self.refused(done, *texts)

    def test_two_shards(self) -> None:
        self.accepted(run_model(self.sharded()))

    def test_missing_shard(self) -> None:
        copy = self.sharded()
        (copy / "b.safetensors").unlink()
        self.refuse_index(copy, "shard 'b.safetensors', which the index names for tensor ", "is missing; download it")

    def test_truncated_shard(self) -> None:
        copy = self.sharded()
        shard = copy / "b.safetensors"
        os.truncate(shard, shard.stat().st_size // 2)
        self.refuse_index(copy, "b.safetensors: truncated: tensor ", "; download it again")

    def test_names_that_leave_the_folder(self) -> None:
        for name in ("../other.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", "", "a\0b"):
            with self.subTest(name):
                copy = self.sharded()
                weights = self.read_index(copy)
                weights[WEIGHT] = name
                self.write_index(copy, weights)
                self.refuse_index(copy, f"{INDEX}: ", "which is not the plain name of a file in the checkpoint's folder")

    def test_index_and_shards_disagree(self) -> None:
        copy = self.sharded()
        weights = self.read_index(copy)
        self.write_index(copy, weights | {"model.extra": "a.safetensors"})
        self.refuse_index(copy, "tensor 'model.extra' is not in 'a.safetensors' nor in any other shard")
        other = {"a.safetensors": "b.safetensors", "b.safetensors": "a.safetensors"}
        self.write_index(copy, weights | {WEIGHT: other[weights[WEIGHT]]})
        self.refuse_index(copy, f"tensor '{WEIGHT}' is in '{weights[WEIGHT]}', not in '{other[weights[WEIGHT]]}'")
        del weights[SCALE]
        self.write_index(copy, weights)
        self.refuse_index(copy, f"tensor '{SCALE}' of ", "is not in the index, which is stale; download it again")

    def test_tensor_in_two_shards(self) -> None:
        """Also what a hard link under a second name comes to."""
        copy = self.sharded()
        (copy / "b.safetensors").unlink()
        (copy / "b.safetensors").hardlink_to(copy / "a.safetensors")
        self.refuse_index(copy, "is in two shards, 'a.safetensors' and 'b.safetensors'")

    def test_wrong_types(self) -> None:
        for text in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": 1}}', '{"weight_map": {}}x', "\xff"):
            with self.subTest(text):
                copy = self.sharded()
                (copy / INDEX).write_bytes(text.encode("latin-1"))
                self.refuse_index(copy, f"{INDEX}: ")

    def test_index_beside_a_stale_file(self) -> None:
        copy = self.sharded()
        shutil.copy(self.copy() / "model.safetensors", copy)
        self.refuse_index(copy, "holds both model.safetensors and an", "remove the one that is stale")
