# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Configurations and weights that a model cannot be made or run with, and those odd ones that it can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tamper import CONFIG, SCALE, WEIGHT, BadInputTest, Context, Tensors, call, compile_model, run_model

from checkpoint import Checkpoint, to_bf16
from deepseek import Model

NAN_CODES = (0x7F, 0xFF)


class Configs(BadInputTest):
    """config.json, as quant-compile and quant-convert read it. Every rule: test/models/config_bad_input_test.cpp."""

    def refuse_config(self, text: bytes | str, *texts: str) -> None:
        path = self.folder / "config.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        random = call("quant-convert", "random", "--config", path, "--output", self.folder / "out")
        compiled = call("quant-compile", path, "-o", self.folder / "x.qmod")
        for done in (random, compiled):
            with self.subTest(tool=done.args[0], text=text[:200]):
                self.refused(done, "config.json: ", *texts)
        self.assertFalse((self.folder / "out").exists())
        self.assertFalse((self.folder / "x.qmod").exists())

    def refuse_value(self, key: str, value: object, *texts: str) -> None:
        self.refuse_config(json.dumps(CONFIG | {key: value}), f"{key}: ", *texts)

    def test_text(self) -> None:
        self.refuse_config("", "line 1")
        self.refuse_config("[]", "a model configuration is a JSON object, this is []")
        self.refuse_config(b'{"\xff": 1}', "UTF-8")
        self.refuse_config("{" + '"a":{' * 1_000_000, "line 1")
        self.refuse_config('{"vocab_size": 1, "vocab\\u005fsize": 1}', "vocab_size")
        self.refuse_config("{}", "this is no model configuration")
        self.refuse_config(" " * (17 << 20), "17825792 bytes")

    def test_types(self) -> None:
        self.refuse_value("hidden_size", "160", "is not an integer")
        self.refuse_value("hidden_size", 160.5, "is not an integer")
        self.refuse_value("hidden_size", [], "is not an integer")
        self.refuse_value("norm_topk_prob", 1, "1 is not")
        self.refuse_value("rms_norm_eps", "x", "is not a number")
        self.refuse_value("rope_scaling", "yarn", "is not")
        self.refuse_value("quantization_config", [1], "is not")

    def test_numbers(self) -> None:
        self.refuse_value("hidden_size", 0, "0 is not in 1 .. ")
        self.refuse_value("hidden_size", -160, "-160 is not in 1 .. ")
        self.refuse_value("hidden_size", 2**62, "is not in 1 .. ")
        self.refuse_value("hidden_size", 2**63, "9223372036854775808 is more than 2^63 - 1")
        self.refuse_config(json.dumps(CONFIG | {"hidden_size": 2**64}), "an integer beyond 64 bits (18446744073709551616)")
        self.refuse_value("num_hidden_layers", 10**9, "1000000000 is not in 1 .. ")
        self.refuse_value("n_routed_experts", 10**9, "1000000000 is not in 0 .. ")
        self.refuse_value("n_group", 0, "0 is not in 1 .. ")
        self.refuse_value("n_group", 3, "does not divide n_routed_experts 4")
        self.refuse_value("num_experts_per_tok", 5, "is more than n_routed_experts 4")
        self.refuse_value("vocab_size", 0, "0 is not in 1 .. ")
        self.refuse_config(json.dumps(CONFIG).replace("1e-06", "1e999"), "line 1")

    def test_no_config(self) -> None:
        copy = self.copy()
        (copy / "config.json").unlink()
        self.refused(compile_model(copy, self.folder / "x.qmod"), "config.json: cannot open: No such file or directory")

    def test_config_of_another_model(self) -> None:
        """Each value is legal by itself, and not what the weights are."""
        for key, value in (("hidden_size", 192), ("vocab_size", 65), ("num_hidden_layers", 3), ("num_attention_heads", 4),
                           ("n_routed_experts", 6), ("kv_lora_rank", 64), ("q_lora_rank", 8)):  # fmt: skip
            with self.subTest(key=key):
                copy = self.copy()
                (copy / "config.json").write_text(json.dumps(CONFIG | {key: value}))
                self.refused(compile_model(copy, self.folder / "x.qmod"), "tensor")


class Weights(BadInputTest):
    """Weights that are not what the module was compiled for, and scales that are no numbers to scale by."""

    def refuse_weights(self, checkpoint: Path, *texts: str) -> None:
        self.refused(run_model(checkpoint), *texts)

    def refuse_scale(self, value: float, text: str) -> None:
        def spoil(tensors: Tensors) -> None:
            tensors[SCALE][1][1, 0] = value

        with self.subTest(value=value):
            self.refuse_weights(
                self.spoilt(spoil), f"tensor '{SCALE}' in ", f"model.safetensors: the scale of block [1, 0] is {text}, "
            )

    def test_scales_that_are_no_numbers(self) -> None:
        self.refuse_scale(np.nan, "NaN")
        self.refuse_scale(-np.nan, "NaN")
        self.refuse_scale(np.inf, "inf")
        self.refuse_scale(-np.inf, "-inf")
        self.refuse_scale(-0.5, "-0.5")

    def test_scale_of_an_expert(self) -> None:
        name = "model.layers.1.mlp.experts.3.up_proj.weight_scale_inv"
        spoilt = self.spoilt(lambda tensors: tensors[name][1].fill(np.nan))
        self.refuse_weights(spoilt, f"tensor '{name}' in ", "block [0, 0] is NaN")

    def test_scales_in_other_formats(self) -> None:
        """A checkpoint whose scales are F16, BF16 or F8_E8M0: compiled for what it is, and checked alike."""
        formats = {
            "BF16": (to_bf16(np.array([0.5]))[0], {0x7FC0: "NaN", 0xFF80: "-inf", 0xBF00: "-0.5"}),
            "F16": (np.float16(0.5), {0x7E00: "NaN", 0x7C00: "inf", 0xB800: "-0.5"}),
            "F8_E8M0": (np.uint8(126), {0xFF: "NaN"}),
        }
        for dtype, (half, bad) in formats.items():
            with self.subTest(dtype=dtype):
                self.check_format(dtype, half, bad)

    def check_format(self, dtype: str, half: np.generic, bad: dict[int, str]) -> None:
        def convert(tensors: Tensors) -> None:
            for name, (_, values) in tensors.items():
                if name.endswith("_scale_inv"):
                    tensors[name] = dtype, np.full(values.shape, half)

        def spoil(tensors: Tensors, bits: int) -> None:
            convert(tensors)
            scales = tensors[SCALE][1]
            scales.view(f"u{scales.itemsize}")[1, 1] = bits

        module = self.folder / f"{dtype}.qmod"
        good = self.spoilt(convert)
        self.accepted(compile_model(good, module))
        want = Model(Checkpoint(good)).forward([1, 2, 3]).logits
        np.testing.assert_allclose(self.logits(good, module), want, rtol=0, atol=1e-3 * np.abs(want).max())
        for bits, text in bad.items():
            done = run_model(self.spoilt(lambda tensors: spoil(tensors, bits)), module=module)
            self.refused(done, f"tensor '{SCALE}' in ", f"the scale of block [1, 1] is {text}, scales are finite and not negative")

    def test_missing_and_wrong_scales(self) -> None:
        def rename(tensors: Tensors) -> None:
            tensors[WEIGHT + "_scale"] = tensors.pop(SCALE)

        self.refuse_weights(
            self.spoilt(lambda tensors: tensors.pop(SCALE)), f"tensor '{SCALE}' is not in checkpoint ", "the weight without any"
        )
        self.refuse_weights(self.spoilt(rename), f"the checkpoint has '{WEIGHT}_scale'")
        for dtype, array in (("F32", np.ones((2, 1), "<f4")), ("F32", np.ones(4, "<f4")), ("BF16", np.ones((2, 2), "<u2")),
                             ("F64", np.ones((2, 2), "<f8"))):  # fmt: skip
            wrong = self.spoilt(lambda tensors: tensors.update({SCALE: (dtype, array)}))
            self.refuse_weights(wrong, f"tensor '{SCALE}' in ", "the module expects 2x2xf32")

    def test_scales_that_the_compiler_refuses(self) -> None:
        """A model of FP8 weights without scales, or with scales of the wrong shape, is not compiled either."""
        without = self.spoilt(lambda tensors: tensors.pop(SCALE))
        self.refused(compile_model(without, self.folder / "x.qmod"), WEIGHT)
        wrong = self.spoilt(lambda tensors: tensors.update({SCALE: ("F32", np.ones((1, 2), "<f4"))}))
        self.refused(compile_model(wrong, self.folder / "x.qmod"), SCALE)
        for dtype, storage in (("I32", "<i4"), ("F64", "<f8")):
            wrong = self.spoilt(lambda tensors: tensors.update({SCALE: (dtype, np.ones((2, 2), storage))}))
            self.refused(compile_model(wrong, self.folder / "x.qmod"), SCALE)

    def test_orphan_scale(self) -> None:
        """Allowed and not looked at, like every tensor that the program does not name."""
        scale = np.full((1, 1), np.nan, "<f4")
        orphan = self.spoilt(lambda tensors: tensors.update({"model.gone.weight_scale_inv": ("F32", scale)}))
        self.accepted(compile_model(orphan, self.folder / "x.qmod"))
        np.testing.assert_array_equal(self.logits(orphan), self.logits(Context.checkpoint()))

    def test_unaligned_tensors(self) -> None:
        """Legal in safetensors: one byte before all others, and nothing of more than a byte is aligned any more."""

        def spoil(tensors: Tensors) -> None:
            others = dict(tensors)
            tensors.clear()
            tensors.update({"first": ("U8", np.zeros(1, "u1")), **others})

        np.testing.assert_array_equal(self.logits(self.spoilt(spoil)), self.logits(Context.checkpoint()))

    def test_missing_and_wrong_weights(self) -> None:
        norm = "model.norm.weight"
        self.refuse_weights(self.spoilt(lambda tensors: tensors.pop(norm)), f"tensor '{norm}' is not in checkpoint ")
        self.refuse_weights(
            self.spoilt(lambda tensors: tensors.update({norm: ("F32", np.ones(160, "<f4"))})),
            f"tensor '{norm}' in ", "is 160xf32, the module expects 160xbf16; was it compiled for another checkpoint?",
        )  # fmt: skip
        self.refuse_weights(
            self.spoilt(lambda tensors: tensors.update({WEIGHT: ("F8_E4M3", np.zeros((144, 160), "u1"))})),
            f"tensor '{WEIGHT}' in ", "is 144x160xf8E4M3FN, the module expects 160x144xf8E4M3FN",
        )  # fmt: skip
        expert = "model.layers.1.mlp.experts.2.down_proj.weight"
        self.refuse_weights(self.spoilt(lambda tensors: tensors.pop(expert)), f"tensor '{expert}' is not in checkpoint ")

    def test_nan_codes_come_out_as_nan(self) -> None:
        for code in NAN_CODES:
            with self.subTest(code=code):
                spoilt = self.spoilt(lambda tensors: tensors[WEIGHT][1].__setitem__((3, 5), code))
                self.assertTrue(np.isnan(Model(Checkpoint(spoilt)).forward([1, 2, 3]).logits).all())
                self.assertTrue(np.isnan(self.logits(spoilt)).all())
                self.refused(run_model(spoilt), "logit 0 is nan: the weights or the model's numbers are out of range")

    def test_zero_blocks(self) -> None:
        """Codes and scale 0; codes 0 under any scale; any codes under scale 0: the same model, and the reference's."""

        def spoil(tensors: Tensors, codes: bool, scale: bool) -> None:
            if codes:
                tensors[WEIGHT][1][:128, :128] = 0
            if scale:
                tensors[SCALE][1][0, 0] = 0

        results = []
        for codes, scale in ((True, True), (True, False), (False, True)):
            spoilt = self.spoilt(lambda tensors: spoil(tensors, codes, scale))
            results.append(self.logits(spoilt))
            want = Model(Checkpoint(spoilt)).forward([1, 2, 3]).logits
            np.testing.assert_allclose(results[-1], want, rtol=0, atol=1e-3 * np.abs(want).max())
            np.testing.assert_array_equal(results[-1], results[0])
        self.assertFalse(np.array_equal(results[0], self.logits(Context.checkpoint())))

    def test_all_scales_zero(self) -> None:
        def spoil(tensors: Tensors) -> None:
            for name, (_, values) in tensors.items():
                if name.endswith("_scale_inv"):
                    values.fill(0)

        spoilt = self.spoilt(spoil)
        want = Model(Checkpoint(spoilt)).forward([1, 2, 3]).logits
        np.testing.assert_allclose(self.logits(spoilt), want, rtol=0, atol=1e-3 * np.abs(want).max())
