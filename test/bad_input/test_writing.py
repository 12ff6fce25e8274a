# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Outputs that cannot be written, and those that would destroy an input."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from tamper import Context, BadInputTest, call, compile_model, run_model


def random_arguments(output: Path, *more: str) -> tuple[str, ...]:
    return ("random", "--config", str(Context.folder / "config.json"), "--output", str(output), *more)


def limit_file_size() -> None:
    """In the child: no file may grow beyond 64 bytes (ulimit -f)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Writing(BadInputTest):
    def refuse_logits(self, path: Path | str, *texts: str, **options: object) -> None:
        self.refused(run_model(Context.checkpoint(), "--logits", path, **options), *texts)

    def test_logits_that_cannot_be_written(self) -> None:
        self.refuse_logits("/dev/full", "/dev/full: is a device and will not be replaced by a file")
        self.refuse_logits(self.folder, "names no file to write" if str(self.folder).endswith("/") else "is a directory")
        self.refuse_logits(self.folder / "no" / "logits", "No such file or directory")
        self.refuse_logits(self.folder / "logits", "File too large", preexec_fn=limit_file_size)
        self.assertEqual(names(self.folder), [])

    def test_logits_onto_an_input(self) -> None:
        copy = self.copy()
        weights = copy / "model.safetensors"
        before = weights.read_bytes()
        for path in (weights, copy / "config.json", copy / ".." / copy.name / "model.safetensors"):
            self.refused(run_model(copy, "--logits", path), "--logits would replace a file of the checkpoint")
        self.refused(run_model(copy, "--logits", Context.module()), "--logits would replace the module")
        self.assertEqual(weights.read_bytes(), before)
        self.accepted(run_model(copy, "--logits", copy / "logits.safetensors"))  # a new file beside them is fine

    def test_full_stdout(self) -> None:
        with open("/dev/full", "w") as full:
            done = run_model(Context.checkpoint(), stdout=full, stderr=subprocess.PIPE, capture_output=False)
        self.refused(done, "cannot write to stdout")

    def test_module_that_cannot_be_written(self) -> None:
        good = Context.checkpoint()
        self.refused(compile_model(good, Path("/dev/full")), "/dev/full: is a device and will not be replaced by a file")
        self.refused(compile_model(good, self.folder / "x.qmod", preexec_fn=limit_file_size), "File too large")
        self.assertEqual(names(self.folder), [])

    def test_module_by_its_bare_name(self) -> None:
        self.accepted(compile_model(Context.checkpoint().resolve(), Path("x.qmod"), cwd=self.folder))
        self.assertEqual(names(self.folder), ["x.qmod"])

    def test_module_onto_an_input(self) -> None:
        copy = self.copy()
        before = {name: (copy / name).read_bytes() for name in names(copy)}
        for name in ("model.safetensors", "config.json"):
            self.refused(compile_model(copy, copy / name), "the output would replace a file of the input")
        self.refused(compile_model(copy / "config.json", copy / "config.json"), "the output would replace a file of the input")
        self.refused(compile_model(copy, self.folder), "is a folder")
        self.refused(compile_model(copy, self.folder / "no" / "x.qmod"), "there is no such folder for the output")
        self.assertEqual({name: (copy / name).read_bytes() for name in names(copy)}, before)

    def test_output_is_input(self) -> None:
        copy = self.copy()
        before = names(copy)
        done = call("quant-convert", "random", "--config", copy, "--output", copy)
        self.refused(done, f"{copy}: is not empty; choose another --output")
        self.assertEqual(names(copy), before)

    def test_output_is_no_folder(self) -> None:
        file = self.folder / "file"
        file.write_text("x")
        self.refused(call("quant-convert", *random_arguments(file)), f"{file}: is not a folder")
        self.refused(call("quant-convert", *random_arguments(file / "below")), "Not a directory")
        self.refused(call("quant-convert", *random_arguments(Path("/proc/x"))), "/proc/x: ")

    def test_no_room(self) -> None:
        out = self.folder / "out"
        self.refused(call("quant-convert", *random_arguments(out), preexec_fn=limit_file_size), "File too large")
        self.assertEqual(names(out), [])

    def test_killed_mid_write(self) -> None:
        """SIGKILL leaves `.NAME.PID-N.tmp` and the run's state; the same run goes on, another needs --force."""
        out = self.folder / "out"
        config = Path(__file__).resolve().parents[2] / "models" / "configs" / "16B.json"
        big = [Context.binaries / "quant-convert", "random", "--config", config, "--output", out, "--shard-size", "60MB"]
        process = subprocess.Popen(big, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (out.exists() and any(name.startswith(".model-") for name in names(out))) and process.poll() is None:
            time.sleep(0.001)
        busy = call("quant-convert", *random_arguments(out, "--force"))
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.refused(busy, f"{out}: another process is writing to it; wait for it or choose another --output")
        for path in out.glob("*.safetensors"):  # shards that were complete already: none, or the first
            path.unlink()
        left = [name for name in names(out) if name != ".quant-convert.json"]
        self.assertTrue(left and all(name.startswith(".") and name.endswith(".tmp") for name in left), left)
        other = call("quant-convert", *random_arguments(out))
        self.refused(other, f"{out}: holds an unfinished run of 'random' with other inputs or options; ", "--force")
        self.accepted(call("quant-convert", *random_arguments(out, "--force")))
        self.assertFalse([name for name in names(out) if name.startswith(".")])
        self.accepted(run_model(out))

    def test_weights_cut_short_while_they_are_used(self) -> None:
        """A lost page of a mapping is a SIGBUS: quant-run makes an error of it. A run that was done before is tried again."""
        for _ in range(50):
            copy = self.copy()
            code, stderr = self.cut_short(copy)
            if code != 0:
                break
        message = "was cut short while it was read, or the disk failed; restore the file and run again"
        self.assertEqual((code, stderr), (1, f"quant-run: error: {copy / 'model.safetensors'}: {message}\n"))

    def cut_short(self, copy: Path) -> tuple[int, str]:
        command = [Context.binaries / "quant-run", Context.module(), "--weights", copy, "--tokens", "1", "--max-new-tokens", "60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.read(1)  # loaded: the first token is there
            process.send_signal(signal.SIGSTOP)
            os.truncate(copy / "model.safetensors", 4096)
            process.send_signal(signal.SIGCONT)
            return process.wait(timeout=60), process.stderr.read()
