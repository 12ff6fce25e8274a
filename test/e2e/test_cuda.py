#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quant-run --device=cuda on a CUDA driver with the simulator behind it (test/gpu/SimCuda.cpp): no GPU is needed, nor looked for.

    python3 test/e2e/test_cuda.py --bin build/bin --cuda FOLDER_OF_THE_SIMULATED_LIBCUDA [--seed N] [unittest arguments]

Both devices run the same PTX, so that logits must be those of --device=sim to the last bit; what is right about these test_sim.py
checks. NumPy only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import test_sim
from compare import clear_prompt, relative_error  # puts test/reference on the path
from checkpoint import Checkpoint, SafetensorsFile
from deepseek import Model
import toys

from module_file import edit_json, read_sections, write_sections

TIMEOUT_SECONDS = 300


#: Makes a session through the C API, and a step with it: prints the statuses and what is wrong.
C_API = """
import ctypes, sys
runtime = ctypes.CDLL(sys.argv[1])
runtime.quant_last_error.restype = ctypes.c_char_p
class Options(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int32), ("profile", ctypes.c_int32), ("context", ctypes.c_int64),
                ("max_chunk", ctypes.c_int64), ("isa", ctypes.c_char_p), ("device", ctypes.c_char_p), ("cache", ctypes.c_int64), ("mtp", ctypes.c_int32),
                ("eager", ctypes.c_int32), ("overlap", ctypes.c_int32)]
module, session = ctypes.c_void_p(), ctypes.c_void_p()
assert runtime.quant_module_open(sys.argv[2].encode(), ctypes.byref(module)) == 0
options = Options(device=b"cuda")
created = runtime.quant_session_create(module, sys.argv[3].encode(), ctypes.byref(options), ctypes.byref(session))
token = ctypes.c_int32(1)
ran = runtime.quant_forward(session, ctypes.byref(token), ctypes.c_int64(1), ctypes.c_int64(0), None) if created == 0 else None
print(created, ran, (runtime.quant_last_error() or b"").decode())
"""


class Context:
    """Set by main()."""

    binaries = Path()
    cuda = Path()
    seed = 0


class Cuda(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cuda-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.checkpoint = self.folder / "checkpoint"

    def call(
        self, tool: str, *arguments: str | Path, fault: str = "", cuda: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LD_LIBRARY_PATH": str(cuda or Context.cuda), "SIM_CUDA_FAULT": fault}
        command = [str(Context.binaries / tool), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, env=environment
        )

    def compile(self, config: dict[str, object], *options: str, target: str = "sm_90a") -> Path:
        toys.write(self.checkpoint, config, Context.seed)
        module = self.folder / "toy.qmod"
        done = self.call("quant-compile", self.checkpoint, f"--target={target}", "-o", module, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return module

    def quant_run(self, module: Path, *options: str, device: str = "cuda", tokens: str = "1,2,3", fault: str = "",
                  cuda: Path | None = None) -> subprocess.CompletedProcess[str]:  # fmt: skip
        return self.call("quant-run", module, "--device", device, "--weights", self.checkpoint, "--tokens", tokens,
                         "--max-new-tokens", "3", *options, fault=fault, cuda=cuda)  # fmt: skip

    def results(self, module: Path, device: str, prompt: list[int], *options: str) -> tuple[np.ndarray, list[int]]:
        """Logits and new tokens of a run about which nothing was said."""
        file = self.folder / "logits.safetensors"
        done = self.quant_run(
            module, "--json", "--logits", str(file), *options, device=device, tokens=",".join(map(str, prompt))
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return SafetensorsFile(file).values("logits").copy(), json.loads(done.stdout)["tokens"]

    def check_same(self, config: dict[str, object], *options: str, length: int = 5, chunks: tuple[int, ...] = (1, 2, 0)) -> None:
        module = self.compile(config, *options)
        prompt = np.random.default_rng(Context.seed).integers(0, toys.v3()["vocab_size"], length).tolist()
        for chunk in chunks:
            got, got_tokens = self.results(module, "cuda", prompt, "--chunk", str(chunk))
            want, want_tokens = self.results(module, "sim", prompt, "--chunk", str(chunk))
            self.assertEqual(got.tobytes(), want.tobytes(), f"chunks of {chunk} of {prompt}")
            self.assertEqual(got_tokens, want_tokens)

    def refused(self, done: subprocess.CompletedProcess[str], *texts: str) -> None:
        self.assertEqual(done.returncode, 1, done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)

    # --- Results ---

    def test_v3(self) -> None:
        self.check_same(toys.v3())

    def test_v3_with_merged_projections(self) -> None:
        self.check_same(toys.v3() | test_sim.MERGED)

    def test_v2(self) -> None:
        self.check_same(toys.v2())

    def test_odd_sizes(self) -> None:
        self.check_same(toys.v3() | test_sim.ODD)

    def test_many_tokens_take_other_kernels(self) -> None:
        wide = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 1}
        self.check_same(toys.v3() | wide, "--max-tokens", "256", length=70, chunks=(0,))

    def test_the_host_says_the_same(self) -> None:
        module = self.compile(toys.v3(), "--activations=f32", "--kv-cache=f32", target="host,sm_90a")
        prompt = clear_prompt(Model(Checkpoint(self.checkpoint)), 4, Context.seed)
        got, got_tokens = self.results(module, "cuda", prompt)
        want, want_tokens = self.results(module, "host", prompt)
        self.assertLess(relative_error(got, want), test_sim.Simulated.ROUNDING)
        self.assertEqual(got_tokens, want_tokens)

    def test_from_c(self) -> None:
        """libquant_runtime has the device, too, and a session may go from thread to thread beside others."""

        class Options(ctypes.Structure):
            _fields_ = [("threads", ctypes.c_int32), ("profile", ctypes.c_int32), ("context", ctypes.c_int64),
                        ("max_chunk", ctypes.c_int64), ("isa", ctypes.c_char_p), ("device", ctypes.c_char_p), ("cache", ctypes.c_int64), ("mtp", ctypes.c_int32),
                ("eager", ctypes.c_int32), ("overlap", ctypes.c_int32)]  # fmt: skip

        module_file, prompt = self.compile(toys.v3()), [1, 2, 3]
        want, _ = self.results(module_file, "sim", prompt)
        simulated = ctypes.CDLL(str(Context.cuda / "libcuda.so.1"))  # found by its name from now on
        runtime = ctypes.CDLL(str(Context.binaries.parent / "runtime" / "api" / "libquant_runtime.so"))
        runtime.quant_last_error.restype = ctypes.c_char_p
        module, sessions = ctypes.c_void_p(), [ctypes.c_void_p(), ctypes.c_void_p()]

        def good(status: int) -> None:
            self.assertEqual(status, 0, runtime.quant_last_error())

        def in_a_thread(function: Callable[[], None]) -> None:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(function).result()

        def create(session: ctypes.c_void_p) -> None:
            options = Options(device=b"cuda", isa=b"ptx")
            weights = str(self.checkpoint).encode()
            good(runtime.quant_session_create(module, weights, ctypes.byref(options), ctypes.byref(session)))

        def run(session: ctypes.c_void_p) -> None:
            logits, ids = np.empty(want.shape, np.float32), (ctypes.c_int32 * len(prompt))(*prompt)
            count = ctypes.c_int64(len(prompt))
            good(runtime.quant_forward(session, ids, count, count, logits.ctypes.data_as(ctypes.c_void_p)))
            np.testing.assert_array_equal(logits, want)

        good(runtime.quant_module_open(str(module_file).encode(), ctypes.byref(module)))
        for step in (create, run, runtime.quant_session_free):
            for session in sessions:
                in_a_thread(lambda: step(session))
        runtime.quant_module_free(module)
        simulated.simCudaFindings.restype = ctypes.c_char_p
        self.assertEqual(simulated.simCudaFindings(), b"")

    def test_programmatic_launches_are_made_as_such(self) -> None:
        # The driver runs them before the kernels in front of them, which only launches with the attribute allow.
        module = self.compile(toys.v3())
        good = self.quant_run(module, "--json")
        for options, runs_early in ((("--overlap", "--eager"), True), (("--overlap",), True), ((), False)):
            spoilt = self.quant_run(module, "--json", *options, fault="early")
            same = (spoilt.returncode, spoilt.stdout.split("prefill")[0]) == (0, good.stdout.split("prefill")[0])
            self.assertEqual(same, not runs_early, options)
            done = self.quant_run(module, "--json", *options)
            self.assertEqual((done.returncode, done.stdout.split("prefill")[0]), (0, good.stdout.split("prefill")[0]), done.stderr)

    def test_when_the_next_kernel_starts_changes_no_number(self) -> None:
        """Each kernel on tensor cores lets the next one start once, at the place that is asked for, or never."""
        outputs = {}
        for start in ("start", "loaded", "never"):
            kernels = self.folder / start
            module = self.compile(toys.v3(), f"--launch-dependents={start}", "--kernels-to", str(kernels))
            done = self.quant_run(module, "--json", "--overlap")
            self.assertEqual(done.returncode, 0, done.stderr)
            outputs[start] = done.stdout.split("prefill")[0]
            entries = [text for file in kernels.rglob("*.ptx") for text in file.read_text().split(".entry")[1:] if "wgmma" in text]
            self.assertGreater(len(entries), 0)
            for text in entries:
                self.assertEqual(text.count("griddepcontrol.launch_dependents"), 0 if start == "never" else 1)
                if start != "never":
                    loads_before = "cp.async.bulk.tensor" in text[: text.index("griddepcontrol.launch_dependents")]
                    self.assertEqual(loads_before, start == "loaded")
        self.assertEqual(set(outputs.values()), {outputs["start"]})

    def test_calls_that_come_again_are_graphs(self) -> None:
        """check_same() compares their numbers with the simulator's: a prompt in chunks, and new tokens one by one."""
        module = self.compile(toys.v3())
        self.refused(self.quant_run(module, fault="no-graph"), "cuGraphLaunch failed: CUDA_ERROR_LAUNCH_FAILED")
        self.refused(self.quant_run(module, fault="capture"), "quant-run --eager", "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        for fault in ("no-graph", "capture"):
            done = self.quant_run(module, "--eager", fault=fault)
            self.assertEqual((done.returncode, done.stdout), (0, self.quant_run(module).stdout), done.stderr)

    def test_notes(self) -> None:
        module = self.compile(toys.v3())
        done = self.quant_run(module, "--json", fault="spill")
        self.assertRegex(json.loads(done.stdout)["notes"], r"keep registers in local memory, .*rms_norm_144 \(24 bytes\)")

    def test_profile(self) -> None:
        done = self.quant_run(self.compile(toys.v3()), "--profile")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("  model.layers.0.input_layernorm\n", done.stderr)

    # --- Errors ---

    def test_no_driver(self) -> None:
        module, folder = self.compile(toys.v3()), self.folder / "no-driver"
        folder.mkdir()
        (folder / "libcuda.so.1").touch()
        self.refused(self.quant_run(module, cuda=folder), "no CUDA driver (", "libcuda.so.1", "needs an H100 or H200")

    def test_gpus_that_do_not_fit(self) -> None:
        module = self.compile(toys.v3())
        self.refused(self.quant_run(module, fault="no-gpu"), "the CUDA driver sees no GPU")
        self.refused(self.quant_run(module, fault="capability"), "the GPU is simulated A100 of compute capability 8.0")

    def test_wrong_machines_are_not_reported_as_wrong_checkpoints(self) -> None:
        module = self.compile(toys.v3())
        shutil.rmtree(self.checkpoint)
        self.refused(self.quant_run(module, fault="no-gpu"), "the CUDA driver sees no GPU")

    def test_too_little_memory(self) -> None:
        module, parts = self.compile(toys.v3()), ("for the weights", "for the KV cache", "for the workspace")
        self.refused(self.quant_run(module, fault="small"), "the GPU has 0.0 MiB of free memory", *parts)
        self.refused(self.quant_run(module, fault="fragmented"), "cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY", *parts)

    def test_statuses_of_the_c_api(self) -> None:
        """runtime/api/quant.h: 2 invalid module, 3 invalid weights, 7 out of memory, 8 no device, 9 unsupported, 10 device error."""
        module, spoilt, old = self.compile(toys.v3()), self.folder / "spoilt.qmod", self.folder / "old"
        library = Context.binaries.parent / "runtime" / "api" / "libquant_runtime.so"

        def status(path: Path, fault: str = "", cuda: Path | None = None, weights: Path = self.checkpoint) -> str:
            environment = os.environ | {"LD_LIBRARY_PATH": str(cuda or Context.cuda), "SIM_CUDA_FAULT": fault}
            command = [sys.executable, "-c", C_API, library, path, weights]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        def lose_gate(manifest: dict) -> None:
            kernel = next(k for k in manifest["targets"][0]["kernels"] if k["name"].startswith("moe_gate"))
            del kernel["launch"]
            kernel["unsupported"] = "not today"

        old.mkdir()  # a library that is a driver by name alone
        shutil.copy(library, old / "libcuda.so.1")
        self.assertEqual(status(module), "0 0 \n")
        for text, created in (("no-gpu", 8), ("capability", 8), ("small", 7), ("fragmented", 7)):
            self.assertTrue(status(module, text).startswith(f"{created} None "), text)
        self.assertRegex(status(module, cuda=old), "^8 None .*: the CUDA driver is too old: libcuda.so.1 has no cuInit")
        self.assertRegex(status(module, "jit"), "^2 None .*the CUDA driver takes none of the module's code")
        self.assertRegex(status(module, weights=self.folder / "nowhere"), "^3 None .*nowhere")
        self.assertRegex(status(module, "crash:rms_norm_144"), "^0 10 .*CUDA_ERROR_LAUNCH_FAILED")
        self.assertRegex(status(edit_json(module, spoilt, "manifest.json", lose_gate)), "^9 None .*there is no sm_90a code for moe_gate")

    def test_code_that_the_driver_does_not_take(self) -> None:
        module = self.compile(toys.v3())
        self.refused(self.quant_run(module, "--isa", "ptx", fault="jit"),
                     "code.sm_90a.ptx: cuModuleLoadDataEx failed: CUDA_ERROR_INVALID_PTX: ptxas fatal: asked to fail")  # fmt: skip
        self.refused(self.quant_run(module, "--isa", "sass"), "the module has no sm_90a code of isa 'sass'")

    def test_cubin_is_asked_for_first(self) -> None:
        module, spoilt = self.compile(toys.v3()), self.folder / "cubin.qmod"
        sections = read_sections(module)
        sections.setdefault("code.sm_90a.cubin", b"\x7fELF")

        def cubin_first(manifest: dict) -> None:
            objects = [{"isa": isa, "section": f"code.sm_90a.{isa}"} for isa in ("cubin", "ptx")]
            manifest["targets"][0]["objects"] = objects

        write_sections(spoilt, sections)
        edit_json(spoilt, spoilt, "manifest.json", cubin_first)
        # The simulated driver has no use for cubin, and PTX is next.
        self.refused(self.quant_run(spoilt, "--isa", "cubin"), "code.sm_90a.cubin: ", "CUDA_ERROR_NO_BINARY_FOR_GPU")
        done = self.quant_run(spoilt, "--json")
        self.assertEqual(json.loads(done.stdout)["isa"], "ptx", done.stderr)
        self.assertIn("code.sm_90a.ptx runs, since the driver does not take code.sm_90a.cubin: ", json.loads(done.stdout)["notes"])

    def test_kernels_that_fail(self) -> None:
        module, fault = self.compile(toys.v3()), "crash:rms_norm_144"
        self.refused(self.quant_run(module, fault=fault), "CUDA_ERROR_LAUNCH_FAILED; the kernel that failed may be an earlier one",
                     "quant-run --profile")  # fmt: skip
        where = "kernel 'rms_norm_144' (model.layers.0.input_layernorm)"
        self.refused(self.quant_run(module, "--profile", fault=fault),
                     f"{where}: cuStreamSynchronize failed: CUDA_ERROR_LAUNCH_FAILED")  # fmt: skip

    def test_functions_that_are_not_in_the_code(self) -> None:
        module, spoilt = self.compile(toys.v3()), self.folder / "spoilt.qmod"

        def rename(manifest: dict) -> None:
            kernel = next(k for k in manifest["targets"][0]["kernels"] if k["name"].startswith("rms_norm_144"))
            kernel["launch"]["kernel"] = "rms_norm_145"

        self.refused(self.quant_run(edit_json(module, spoilt, "manifest.json", rename)), "kernel 'rms_norm_144' (",
                     "function 'rms_norm_145' of code.sm_90a.ptx: cuModuleGetFunction failed: CUDA_ERROR_NOT_FOUND")  # fmt: skip

    def test_clusters_are_launched_as_such(self) -> None:
        module, spoilt = self.compile(toys.v3()), self.folder / "spoilt.qmod"

        def pair(manifest: dict) -> None:
            kernel = next(k for k in manifest["targets"][0]["kernels"] if k["name"].startswith("rms_norm_144"))
            kernel["launch"]["cluster"] = [2, 1, 1]

        # A block for each of three tokens.
        self.refused(self.quant_run(edit_json(module, spoilt, "manifest.json", pair)), "kernel 'rms_norm_144' (", "cluster")

    def test_the_simulated_driver_tells_what_it_found(self) -> None:
        module, spoilt = self.compile(toys.v3()), self.folder / "spoilt.qmod"
        sections = read_sections(module)
        ptx = sections["code.sm_90a.ptx"].decode()
        at = ptx.index("bar.sync", ptx.index(".entry rms_norm_144"))
        sections["code.sm_90a.ptx"] = (ptx[:at] + ptx[ptx.index("\n", at) :]).encode()
        write_sections(spoilt, sections)
        self.assertIn("sim-cuda: uninitialized-shared", self.quant_run(spoilt).stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Other arguments go to unittest.")
    parser.add_argument("--bin", type=Path, required=True, metavar="DIR", help="the build's bin directory")
    parser.add_argument("--cuda", type=Path, required=True, metavar="DIR", help="where the simulated libcuda.so.1 lies")
    parser.add_argument("--seed", type=int, default=os.environ.get("QUANT_TOY_SEED"), help="of the random toys")
    arguments, rest = parser.parse_known_args()
    Context.binaries, Context.cuda = arguments.bin.resolve(), arguments.cuda.resolve()
    Context.seed = random.SystemRandom().randrange(2**31) if arguments.seed is None else int(arguments.seed)
    print(f"seed {Context.seed} (repeat with --seed {Context.seed})", flush=True)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
