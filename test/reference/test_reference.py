#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Self-test of the NumPy reference: run as a plain script (unittest, NumPy only). The goldens tie it to Hugging Face transformers."""

from __future__ import annotations

import copy
import json
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np

import toys
from checkpoint import Checkpoint, to_bf16, write_safetensors
from deepseek import Gate, Model, margins, mscale, rope_settings, rotate, yarn_frequencies
from fp8 import E4M3, ceil_to_power_of_two, dequantize_blocks, encode_e4m3, quantize_dequantize

GOLDEN = Path(__file__).resolve().parents[1] / "e2e" / "golden"
GOLDENS = ("v3", "v2")


def relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


class E4M3Codes(unittest.TestCase):
    def test_every_code_from_the_format_in_whole_units(self) -> None:
        for code in range(256):
            exponent, mantissa = code >> 3 & 15, code & 7
            if code & 0x7F == 0x7F:
                self.assertTrue(np.isnan(E4M3[code]))
                continue
            units = ((8 if exponent else 0) + mantissa) << max(exponent - 1, 0)  # of 2^-9, the least subnormal
            self.assertEqual(E4M3[code], (-1) ** (code >> 7) * units / 512, hex(code))

    def test_landmarks(self) -> None:
        self.assertEqual([E4M3[c] for c in (0x01, 0x07, 0x08, 0x38, 0x7E, 0xFE)], [2**-9, 7 * 2**-9, 2**-6, 1.0, 448.0, -448.0])
        self.assertTrue(np.signbit(E4M3[0x80]) and E4M3[0x80] == 0)
        self.assertTrue(np.all(np.diff(E4M3[:127]) > 0))

    def test_encode_inverts_rounds_to_even_and_saturates(self) -> None:
        codes = np.array([c for c in range(256) if c & 0x7F != 0x7F], np.uint8)
        np.testing.assert_array_equal(encode_e4m3(E4M3[codes]), codes)
        middles = (E4M3[:126] + E4M3[1:127]) / 2
        self.assertTrue(np.all(encode_e4m3(middles) % 2 == 0))
        np.testing.assert_array_equal(encode_e4m3(middles * (1 - 1e-9)), np.arange(126))
        np.testing.assert_array_equal(encode_e4m3(-middles * (1 + 1e-9)), np.arange(1, 127) | 0x80)
        np.testing.assert_array_equal(encode_e4m3(np.array([1e9, -np.inf, np.nan])), [0x7E, 0xFE, 0x7F])


class Blocks(unittest.TestCase):
    def test_ragged_blocks_element_by_element(self) -> None:
        random = np.random.default_rng(1)
        for shape, block in (((300, 257), (128, 128)), ((5, 7), (2, 3)), ((128, 128), (128, 128)), ((1, 129), (128, 128))):
            values = random.standard_normal(shape)
            scales = random.random((-(-shape[0] // block[0]), -(-shape[1] // block[1])))
            got = dequantize_blocks(values, scales, block)
            for row, column in zip(random.integers(0, shape[0], 50), random.integers(0, shape[1], 50)):
                self.assertEqual(got[row, column], values[row, column] * scales[row // block[0], column // block[1]])

    def test_misshapen_scales_are_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "needs"):
            dequantize_blocks(np.zeros((129, 128)), np.zeros((1, 1)), (128, 128))

    def test_activation_groups(self) -> None:
        x = np.random.default_rng(2).standard_normal((3, 200))
        for start, stop in ((0, 128), (128, 200)):
            scale = np.float64(np.abs(x[:, start:stop].astype(np.float32)).max(axis=1, keepdims=True) / np.float32(448))
            part = x[:, start:stop]
            np.testing.assert_allclose(quantize_dequantize(x)[:, start:stop], E4M3[encode_e4m3(part / scale)] * scale, rtol=1e-6)
        self.assertLess(relative(quantize_dequantize(x, ue8m0=True), x), 0.04)
        tiny = np.full((1, 128), 1e-6)  # under the floor the scale is 1e-4/448, not 1e-6/448
        self.assertLess(abs(quantize_dequantize(tiny)[0, 0] / 1e-6 - 1), 0.07)
        np.testing.assert_array_equal(quantize_dequantize(np.zeros((2, 130))), 0)
        np.testing.assert_array_equal(ceil_to_power_of_two(np.array([1.0, 1.1, 0.5, 0.26, 3.0])), [1, 2, 0.5, 0.5, 4])


class CheckpointFiles(unittest.TestCase):
    def test_dtypes_shards_and_missing_scale(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            x = np.linspace(-3, 3, 12).reshape(3, 4)
            first = {"a": ("F32", x.astype(np.float32)), "w": ("F8_E4M3", encode_e4m3(x))}
            first["e"] = ("F8_E8M0", np.array([127, 128, 255]))
            second = {"b": ("BF16", to_bf16(x)), "h": ("F16", x.astype(np.float16)), "w_scale_inv": ("F32", np.full((2, 2), 2.0))}
            for shard, tensors in (("x-1.safetensors", first), ("x-2.safetensors", second)):
                write_safetensors(folder / shard, tensors)
            where = {n: "x-1.safetensors" for n in first} | {n: "x-2.safetensors" for n in second}
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
            (folder / "config.json").write_text(json.dumps({"quantization_config": {"weight_block_size": [2, 2]}}))
            checkpoint = Checkpoint(folder)
            np.testing.assert_array_equal(checkpoint.tensor("a"), x.astype(np.float32))
            np.testing.assert_allclose(checkpoint.tensor("b"), x, rtol=2**-8)
            np.testing.assert_array_equal(checkpoint.tensor("h"), x.astype(np.float16))
            np.testing.assert_array_equal(checkpoint.tensor("e"), [1, 2, np.nan])
            np.testing.assert_array_equal(checkpoint.tensor("w"), 2 * E4M3[encode_e4m3(x)])
            del checkpoint._file_of["w_scale_inv"]
            with self.assertRaisesRegex(KeyError, "w_scale_inv is missing"):
                checkpoint.tensor("w")


class GateChoice(unittest.TestCase):
    def test_tie_takes_the_lower_index(self) -> None:
        experts, weights, margin = Gate(2, 1, 1, True, True, 1.0)(np.zeros((1, 4)), None)
        self.assertEqual((experts.tolist(), weights.tolist(), margin.tolist()), ([[0, 1]], [[0.5, 0.5]], [0.0]))

    def test_negative_biased_scores_stay_in_the_taken_groups(self) -> None:
        # group 0 wins by its top 2 though all its biased scores are negative; a 0.0 mask would choose 2 and 3 instead
        bias = np.array([-1.0, -1.1, -2.0, -3.0])
        experts, weights, _ = Gate(2, 2, 1, True, False, 2.5)(np.zeros((1, 4)), bias)
        self.assertEqual(experts.tolist(), [[0, 1]])
        np.testing.assert_allclose(weights, [[1.25, 1.25]])  # unbiased scores, times the scaling factor

    def test_group_score_is_the_sum_of_two_with_bias_and_the_maximum_without(self) -> None:
        scores = np.array([0.9, 0.1, 0.6, 0.55])
        logits = np.log(scores / (1 - scores))[None]
        self.assertEqual(Gate(1, 2, 1, True, False, 1.0)(logits, np.zeros(4))[0].tolist(), [[2]])
        self.assertEqual(Gate(1, 2, 1, False, False, 1.0)(logits, None)[0].tolist(), [[0]])

    def test_normalised_after_choice_and_before_scaling(self) -> None:
        _, weights, margin = Gate(3, 4, 2, True, True, 2.5)(np.random.default_rng(0).standard_normal((9, 16)), np.zeros(16))
        np.testing.assert_allclose(weights.sum(axis=1), 2.5)
        self.assertTrue(np.all(margin >= 0))

    def test_softmax_weights_are_not_renormalised(self) -> None:
        logits = np.log(np.array([[0.5, 0.3, 0.2]]))
        np.testing.assert_allclose(Gate(2, 1, 1, False, False, 16.0)(logits, None)[1], [[8.0, 4.8]])


class Rope(unittest.TestCase):
    def test_deinterleaved_rotate_half_gives_the_same_scores(self) -> None:
        random = np.random.default_rng(3)
        query, key = random.standard_normal((5, 2, 8)), random.standard_normal((5, 8))
        frequencies = 10000.0 ** -(np.arange(0, 8, 2) / 8)
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        scores = []
        for q, k, interleaved in ((query, key, True), (query[..., order], key[..., order], False)):
            turned = [rotate(x, np.arange(5), frequencies, 1.0, interleaved) for x in (q, k)]
            scores.append(np.einsum("thp,sp->ths", *turned))
        np.testing.assert_allclose(*scores, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(rotate(query, np.arange(5), frequencies, 2.0, True)), 2 * np.linalg.norm(query))

    def test_deepseek_v3_yarn(self) -> None:
        yarn = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
                "original_max_position_embeddings": 4096}  # fmt: skip
        theta, parameters = rope_settings({"rope_theta": 10000, "rope_scaling": yarn})
        self.assertEqual(rope_settings({"rope_parameters": {**yarn, "rope_type": "yarn", "rope_theta": 10000}})[0], theta)
        frequencies, factor = yarn_frequencies(64, theta, parameters, 163840)
        plain = 10000.0 ** -(np.arange(0, 64, 2) / 64)
        np.testing.assert_allclose(frequencies[:11], plain[:11])  # the correction range is [10, 23]
        np.testing.assert_allclose(frequencies[23:], plain[23:] / 40)
        np.testing.assert_allclose(frequencies[16], plain[16] * (6 / 13 / 40 + 7 / 13))
        self.assertEqual(factor, 1.0)
        self.assertAlmostEqual(mscale(40, 1.0), 1.3688879454)


class Inference(unittest.TestCase):
    def test_naive_equals_absorbed_and_decode_equals_prefill_on_fp8(self) -> None:
        for config in (toys.v3(), toys.v2()):
            with tempfile.TemporaryDirectory() as name:
                checkpoint = toys.write(Path(name), config, seed=5)
                model, prompt = Model(checkpoint), list(range(3, 23))
                prefill = model.forward(prompt).logits
                self.assertLess(relative(Model(checkpoint, mla="naive").forward(prompt).logits, prefill), 1e-12)
                for chunk in (1, 7):
                    output, _ = model.generate(prompt, 0, chunk)
                    self.assertLess(relative(output.logits, prefill), 1e-12)
                _, tokens = model.generate(prompt, 4)
                again = model.forward(prompt + tokens[:-1]).logits[len(prompt) - 1 :].argmax(axis=-1)
                self.assertEqual(again.tolist(), tokens)
                noisy = relative(Model(checkpoint, activations="fp8").forward(prompt).logits, prefill)
                self.assertTrue(1e-3 < noisy < 0.6, noisy)

    def test_tied_embeddings(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            model = Model(toys.write(Path(name), toys.v2() | {"tie_word_embeddings": True}, seed=6))
            self.assertNotIn("lm_head.weight", model.checkpoint)
            output = model.forward([1, 2])
            normed = output.hidden[-1] / np.sqrt((output.hidden[-1] ** 2).mean(-1, keepdims=True) + model.epsilon)
            want = (normed * model.weight("model.norm.weight")) @ model.weight("model.embed_tokens.weight").T
            np.testing.assert_allclose(output.logits, want)


class Goldens(unittest.TestCase):
    """The committed answers of transformers' own classes."""

    @staticmethod
    def load(name: str) -> tuple[Checkpoint, dict[str, Any], np.ndarray]:
        """(checkpoint, golden.json, logits [prompt, vocab])."""
        folder = GOLDEN / name
        return Checkpoint(folder), json.loads((folder / "golden.json").read_text()), np.load(folder / "logits.npy")

    def test_logits_and_tokens_agree_with_transformers(self) -> None:
        for name in GOLDENS:
            checkpoint, golden, want = self.load(name)
            output, tokens = Model(checkpoint).generate(golden["prompt"], len(golden["tokens"]))
            decode = np.load(GOLDEN / name / "decode_logits.npy")
            both = np.concatenate([want, decode[1:]])
            self.assertEqual(tokens, golden["tokens"])
            self.assertLess(relative(output.logits, both), 1e-5)
            self.assertLess(max(map(relative, output.logits, both)), 2e-5)
            np.testing.assert_allclose(margins(decode), golden["margins"], atol=1e-5)

    def test_every_semantic_choice_moves_the_golden_logits(self) -> None:
        """A compiler that gets one of these wrong must not pass at 1e-2."""
        changes = {
            "softmax scale without mscale^2": {"rope_scaling": {"mscale_all_dim": 0, "attention_factor": "kept"}},
            "no YaRN": {"rope_scaling": {"type": "default"}},
            "half-split rope": {"rope_interleave": False},
            "other theta": {"rope_theta": 500.0},
            "no groups": {"topk_group": 4},
            "unscaled routing": {"routed_scaling_factor": 1.0},
            "rms_norm_eps 1e-6": {"rms_norm_eps": 1e-6},
            "no shared experts": {"n_shared_experts": 0},
        }
        only = {
            "v3": {
                "weights not normalised": {"norm_topk_prob": False},
                "softmax gate": {"scoring_func": "softmax", "norm_topk_prob": False},
            },
            "v2": {
                "cos and sin without their factor": {"rope_scaling": {"attention_factor": 1.0}},
                "normalised sigmoid gate": {"scoring_func": "sigmoid", "norm_topk_prob": True},
            },
        }
        for name in GOLDENS:
            checkpoint, golden, want = self.load(name)
            original, kept = checkpoint.config, Model(checkpoint).rope_factor
            for label, change in (changes | only[name]).items():
                config = checkpoint.config = copy.deepcopy(original)
                for key, value in change.items():
                    config[key] = config[key] | value if isinstance(value, dict) else value
                if config["rope_scaling"].get("attention_factor") == "kept":
                    config["rope_scaling"]["attention_factor"] = kept
                moved = relative(Model(checkpoint).forward(golden["prompt"]).logits, want)
                self.assertGreater(moved, 0.02, (name, label))

    def test_epsilon_of_the_lora_norms_and_mask_of_the_groups_move_the_golden_logits(self) -> None:
        for name in GOLDENS:
            checkpoint, golden, want = self.load(name)
            model = Model(checkpoint)
            with unittest.mock.patch("deepseek.LORA_NORM_EPS", model.epsilon):
                self.assertGreater(relative(model.forward(golden["prompt"]).logits, want), 0.02, name)
        checkpoint, golden, want = self.load("v3")
        with unittest.mock.patch("deepseek.CLOSED_GROUP", 0.0):
            self.assertGreater(relative(Model(checkpoint).forward(golden["prompt"]).logits, want), 0.02)


if __name__ == "__main__":
    unittest.main()
