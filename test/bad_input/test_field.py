# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Configurations and checkpoints as people have them: what is left out, what is added, and what never arrived."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tamper import CONFIG, INDEX, WEIGHT, BadInputTest, Context, Tensors, call, compile_model, header_of, read_tensors, run_model, write_safetensors

from checkpoint import Checkpoint, SafetensorsFile
from deepseek import Model

PROMPT = [1, 2, 3, 4, 9, 17, 30, 5]
NORM, BIAS = "model.layers.1.input_layernorm.weight", "model.layers.1.mlp.gate.e_score_correction_bias"
EXPERT = "model.layers.1.mlp.experts.2."

#: A token that the random model does not make.
VOCAB_END = CONFIG["vocab_size"] - 1

#: A configuration, changed: None takes the key away, JSON's null is written as Null.
Null = object()


def changed(config: dict[str, Any], **changes: Any) -> str:
    result = {key: value for key, value in (config | changes).items() if key not in changes or changes[key] is not None}
    return json.dumps({key: None if value is Null else value for key, value in result.items()})


class FieldTest(BadInputTest):
    """Copies of the good checkpoint under another config.json."""

    def with_config(self, checkpoint: Path | None = None, **changes: Any) -> Path:
        copy = checkpoint or self.copy()
        (copy / "config.json").write_text(changed(CONFIG, **changes))
        return copy

    def compiled(self, checkpoint: Path) -> tuple[Path, str]:
        """The module, and what was said of it."""
        module = self.folder / "m.qmod"
        done = compile_model(checkpoint, module)
        self.accepted(done)
        return module, done.stderr + done.stdout

    def logits_of(self, checkpoint: Path) -> np.ndarray:
        module, _ = self.compiled(checkpoint)
        path = self.folder / "l.safetensors"
        tokens = ",".join(map(str, PROMPT))
        self.accepted(run_model(checkpoint, "--tokens", tokens, "--max-new-tokens", "0", "--logits", path, module=module))
        return SafetensorsFile(path).raw("logits").astype(np.float64)

    def check_logits(self, checkpoint: Path, reference: Path | None = None) -> None:
        """Those of the float64 reference, of the same files under the config.json of `reference`."""
        want = Model(Checkpoint(reference or checkpoint)).forward(PROMPT).logits
        error = np.abs(self.logits_of(checkpoint) - want).max() / np.abs(want).max()
        self.assertLess(error, 1e-4)

    def refuse_compile(self, checkpoint: Path, *texts: str) -> None:
        self.refused(compile_model(checkpoint, self.folder / "x.qmod"), *texts)
        self.assertFalse((self.folder / "x.qmod").exists())

    def refuse_inspect(self, checkpoint: Path, *texts: str) -> None:
        self.refused(call("quant-convert", "inspect", checkpoint), *texts)

    def shard(self, checkpoint: Path) -> subprocess.CompletedProcess[str]:
        return call("quant-convert", "shard", "--hf-ckpt-path", checkpoint, "--save-path", self.folder / "shards",
                    "--n-experts", "4", "--model-parallel", "2", "--requantize", "--force")  # fmt: skip


class FieldConfigs(FieldTest):
    """config.json. Every default and every key: test/models/config_field_test.cpp."""

    def test_spellings(self) -> None:
        """The same model in other words gives the same logits."""
        rope = {"rope_type": "default", "rope_theta": 10000}
        for changes in (
            {"model_type": "kimi_k2"},
            {"eos_token_id": [1, 7], "bos_token_id": [0]},
            {"eos_token_id": Null},
            {"max_position_embeddings": 64.0, "hidden_size": 160.0, "n_group": 2.0},
            {"rope_parameters": rope},
            {"rope_parameters": rope, "rope_scaling": {"type": "default"}},
        ):
            with self.subTest(changes=str(changes)):
                self.check_logits(self.with_config(**changes), Context.checkpoint())

    def test_yarn_twice(self) -> None:
        old = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 64.0, "beta_fast": 32, "beta_slow": 1,
               "mscale": 1.0, "mscale_all_dim": 1.0}  # fmt: skip
        new = old | {"rope_type": "yarn", "rope_theta": 10000}
        del new["type"]
        reference = self.with_config(rope_scaling=old)
        self.check_logits(self.with_config(rope_scaling=old, rope_parameters=new), reference)
        self.refuse_compile(
            self.with_config(rope_scaling=old, rope_parameters=new | {"factor": 20}), "contradicts rope_parameters in factor"
        )

    def test_float16(self) -> None:
        config, made = self.folder / "f16.json", self.folder / "f16"
        config.write_text(changed(CONFIG, quantization_config=None, torch_dtype="float16"))
        self.accepted(call("quant-convert", "random", "--config", config, "--output", made, "--seed", "7"))
        self.check_logits(made)
        found = json.loads(call("quant-convert", "inspect", "--json", made).stdout)
        self.assertEqual(sorted(one["dtype"] for one in found["dtypes"]), ["F16", "F32"])
        self.assertFalse([one for one in found["problems"] if one["kind"] == "wrong_dtype"])

    def test_n_group_is_left_out(self) -> None:
        """16 experts: the class's 8 groups of 2, of which 4 are chosen."""
        config = self.folder / "sixteen.json"
        checkpoints = []
        for name, groups in (("given", {"n_group": 8, "topk_group": 4}), ("absent", {"n_group": None, "topk_group": None}),
                             ("one", {"n_group": 1, "topk_group": 1})):  # fmt: skip
            explicit = groups if name == "one" else {"n_group": 8, "topk_group": 4}
            config.write_text(changed(CONFIG | {"n_routed_experts": 16, "num_experts_per_tok": 4}, **explicit))
            checkpoints.append(self.folder / name)
            self.accepted(call("quant-convert", "random", "--config", config, "--output", checkpoints[-1], "--seed", "7"))
            written = json.loads((checkpoints[-1] / "config.json").read_text())
            (checkpoints[-1] / "config.json").write_text(changed(written, **groups))
        given, absent, one = checkpoints
        self.check_logits(absent, given)
        self.assertIn("the class default of deepseek_v3 counts: n_group 8, topk_group 4", self.compiled(absent)[1])
        self.assertGreater(np.abs(self.logits_of(absent) - self.logits_of(one)).max(), 1e-2)
        found = json.loads(call("quant-convert", "inspect", "--json", absent).stdout)
        self.assertTrue(any("n_group 8" in problem["message"] for problem in found["problems"]), found["problems"])

    def test_n_shared_experts_is_left_out(self) -> None:
        absent = self.with_config(n_shared_experts=None)
        self.check_logits(absent, Context.checkpoint())
        self.assertIn("n_shared_experts 1", self.compiled(absent)[1])

    def test_what_the_checkpoint_holds_and_the_config_denies(self) -> None:
        self.refuse_compile(self.with_config(n_shared_experts=Null), "shared_experts", "n_shared_experts says")
        softmax = {"model_type": "deepseek_v2", "scoring_func": "softmax", "norm_topk_prob": False, "topk_method": "greedy",
                   "n_group": 1, "topk_group": 1}  # fmt: skip
        self.refuse_compile(self.with_config(**softmax), f"tensor '{BIAS}' is stored, but scoring_func is softmax")
        low = self.spoilt(lambda tensors: tensors.update({
            "model.layers.0.self_attn.q_a_proj.weight": ("F32", np.zeros((24, 160), "<f4")),
        }))  # fmt: skip
        self.refuse_compile(low, "q_a_proj.weight' is stored, but q_lora_rank says")
        self.refuse_compile(self.with_config(q_lora_rank=None), "q_proj.weight' is stored, but q_lora_rank is 1536")
        self.refuse_compile(self.with_config(n_routed_experts=2, n_group=1), "experts.2.", "but n_routed_experts is 2")
        self.refuse_compile(self.with_config(num_hidden_layers=1), "model.layers.1.", "but num_hidden_layers is 1")

    def test_sparse_attention(self) -> None:
        self.refuse_compile(self.with_config(index_topk=4, index_n_heads=2, index_head_dim=8), "index_")
        indexer = self.spoilt(lambda tensors: tensors.update({
            "model.layers.0.self_attn.indexer.wk.weight": ("F32", np.zeros((8, 160), "<f4")),
        }))  # fmt: skip
        for refuse in (self.refuse_compile, self.refuse_inspect):
            refuse(indexer, "self_attn.indexer.wk.weight' is of the indexer")

    def test_weight_block_sizes_that_are_none(self) -> None:
        for block in ([0, 0], [0.5, 128], [-128, 128], [128], [128, 128, 128], ["128", "128"], 128, "128x128", [128, 65537]):
            quantization = CONFIG["quantization_config"] | {"weight_block_size": block}
            copy = self.with_config(quantization_config=quantization)
            cast = call("quant-convert", "cast-bf16", "--input-fp8-hf-path", copy, "--output-bf16-hf-path", self.folder / "o")
            for done in (cast, self.shard(copy), compile_model(copy, self.folder / "x.qmod")):
                self.refused(done, "config.json: quantization_config.weight_block_size: ")
            self.assertFalse((self.folder / "o").exists())

    def test_integers_beyond_64_bits_have_a_name(self) -> None:
        copy = self.copy()
        (copy / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": 2**64}))
        self.refuse_compile(copy, "an integer beyond 64 bits (18446744073709551616) as the value of 'hidden_size'")

    def test_another_architecture(self) -> None:
        qwen = self.with_config(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
        self.refuse_compile(qwen, 'model_type: "qwen2" is not supported', "distilled from DeepSeek-R1 are Qwen2 and Llama models")
        self.refused(self.shard(qwen), "qwen2")

    def test_notes_are_never_lost(self) -> None:
        """A default that was taken is said whatever quant-compile prints."""
        copy, note = self.with_config(n_shared_experts=None), "n_shared_experts 1"
        self.assertIn(note, call("quant-compile", copy, "--stop-after=model", "-o", self.folder / "m.mlir").stderr)
        done = call("quant-compile", copy, "--host-isa", "avx2", "--json", "-o", self.folder / "m.qmod")
        self.assertTrue(any(note in one for one in json.loads(done.stdout)["notes"]), done.stdout)

    def test_codes_without_a_quantization_config(self) -> None:
        for config in ({"quantization_config": None}, {"quantization_config": Null}):
            copy = self.with_config(**config)
            self.refuse_compile(copy, "weight' is F8_E4M3, but the configuration has no quantization_config")
            self.refuse_inspect(copy, "is F8_E4M3; config.json says BF16")

    def test_end_tokens(self) -> None:
        prompt = ("--tokens", "1,2,3", "--max-new-tokens", "8", "--json")
        run = run_model(Context.checkpoint(), *prompt, "--ignore-eos")
        made = json.loads(run.stdout)["tokens"]
        self.assertEqual(len(made), 8)
        last = made.index(made[3]) + 1
        copies = [self.with_config(eos_token_id=end) for end in (made[3], [VOCAB_END, made[3]], Null)]
        for copy in copies:
            (copy / "generation_config.json").unlink()
        (copies[2] / "generation_config.json").write_text(json.dumps({"eos_token_id": [made[3]]}))
        for copy in copies:
            module, _ = self.compiled(copy)
            for options, count in (((), last), (("--ignore-eos",), 8), (("--stop-token", str(made[0])), 1)):
                done = run_model(copy, *prompt, *options, module=module)
                self.assertEqual(json.loads(done.stdout)["tokens"], made[:count], options)
        for token in ("-1", str(VOCAB_END + 1)):
            self.refused(run_model(Context.checkpoint(), "--stop-token", token), f"--stop-token {token}: never comes")


class FieldCheckpoints(FieldTest):
    """The files of the weights."""

    def every_tool(self, checkpoint: Path, *texts: str) -> None:
        self.refuse_compile(checkpoint, *texts)
        self.refuse_inspect(checkpoint, *texts)
        self.refused(self.shard(checkpoint), *texts)
        self.refused(run_model(checkpoint), *texts)

    def test_files_that_are_others(self) -> None:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4302348160\n"
        for content, text in (
            (pointer, "git lfs pull"),
            (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "HTML"),
            (b"<html>\n", "HTML"),
            (b"Repository not found, or you do not have access to it", "error of the server"),
            (b"PK\x03\x04" + b"\0" * 80, "zip archive"),
            (b"GGUF" + b"\x03\0\0\0" * 20, "GGUF"),
        ):
            copy = self.copy()
            (copy / "model.safetensors").write_bytes(content)
            self.every_tool(copy, "model.safetensors: ", text)
            cast = call("quant-convert", "cast-bf16", "--input-fp8-hf-path", copy, "--output-bf16-hf-path", self.folder / "o")
            self.refused(cast, text)
        copy = self.copy()
        (copy / "config.json").write_bytes(pointer)
        self.refuse_compile(copy, "config.json: is a git-lfs pointer")

    def test_an_index_that_is_another_file(self) -> None:
        for content, text in (
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 43\n", "git lfs pull"),
            (b"<!DOCTYPE html>\n<html>", "HTML"),
            (b'{"error":"Entry not found"}', "error of the server"),
        ):
            copy = self.sharded()
            (copy / INDEX).write_bytes(content)
            self.every_tool(copy, f"{INDEX}: ", text)

    def test_weights_that_did_not_arrive(self) -> None:
        """A folder that has some .safetensors is a checkpoint; it is not compiled by its config.json alone."""
        without_index = self.sharded()
        (without_index / INDEX).unlink()
        self.every_tool(without_index, f"holds neither model.safetensors nor {INDEX}, which says what is in the other .safetensors")
        dangling = self.copy()
        (dangling / "model.safetensors").unlink()
        (dangling / "model.safetensors").symlink_to("gone")
        self.every_tool(dangling, "is a symlink to a file that is not there")
        (dangling / "model.safetensors").unlink()
        self.assertIn("no .safetensors is in the folder", self.compiled(dangling)[1])

    def add(self, name: str, shape: tuple[int, ...] = (8,)) -> Path:
        return self.spoilt(lambda tensors: tensors.update({name: ("F32", np.ones(shape, "<f4"))}))

    def test_tensors_that_nothing_reads(self) -> None:
        for name in ("model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight",
                     "model.layers.1.mlp.gate_proj.lora_A.weight"):  # fmt: skip
            copy = self.add(name)
            for refuse in (self.refuse_compile, self.refuse_inspect):
                refuse(copy, f"'{name}' is of a layer, and nothing reads it")
        for name, text in (
            ("model.norm.bias", "is of a module that is computed"),
            ("lm_head.bias", "is of a module that is computed"),
            (WEIGHT + "_zero_point", "is stored, but zero points are no part of the scheme deepseek-fp8"),
            (WEIGHT + "_g_idx", "is stored, but columns in another order (actorder) are no part of the scheme deepseek-fp8"),
            (WEIGHT + "_scale_2", "is stored, but a second scale of the whole weight is no part of the scheme deepseek-fp8"),
        ):
            for refuse in (self.refuse_compile, self.refuse_inspect):
                refuse(self.add(name), f"'{name}' {text}")

    def test_tensors_that_the_module_does_not_read(self) -> None:
        """A module of another checkpoint, whose weights all are in this one, too."""
        for name in ("model.layers.0.self_attn.indexer.wk.weight", "model.layers.0.self_attn.q_a_proj.weight",
                     "model.layers.0.self_attn.q_proj.bias", "model.layers.1.mlp.experts.4.up_proj.weight",
                     "model.layers.1.mlp.gate.bias", "model.layers.2.input_layernorm.weight", "model.norm.bias", "lm_head.bias",
                     WEIGHT + "_zero_point", WEIGHT + "_g_idx", WEIGHT + "_scale_2"):  # fmt: skip
            done = run_model(self.add(name))
            self.refused(
                done, f"{Context.module()}: nothing in the module reads tensor '{name}' of ", "model.safetensors", "compile this one"
            )

    def test_tensors_that_the_module_need_not_read(self) -> None:
        mtp = ("eh_proj.weight", "self_attn.indexer.wk.weight", "mlp.experts.0.up_proj.weight", "enorm.weight")
        for names in (("model.layers.0.self_attn.rotary_emb.inv_freq",), ("vision_tower.layers.0.wqkv.bias",),
                      (WEIGHT + "_shape", "model.layers.0.mlp.down_proj.input_scale"), ("model.layers.1.self_attn.v_scale",),
                      ("model.extra.weight",), tuple(f"model.layers.2.{name}" for name in mtp)):  # fmt: skip
            copy = self.spoilt(lambda tensors: tensors.update({name: ("F32", np.ones(8, "<f4")) for name in names}))
            done = run_model(copy)
            self.accepted(done)
            self.assertNotIn("tensor", done.stderr)

    def test_tensors_that_need_not_be_read(self) -> None:
        for name, text in (
            ("model.layers.0.self_attn.rotary_emb.inv_freq", "is a buffer that is computed, not read"),
            ("vision_tower.blocks.0.weight", "is of a part of the model that takes no text"),
            ("model.layers.0.self_attn.k_scale", "is the scale of a quantized KV cache"),
        ):
            copy = self.add(name)
            self.assertIn(f"tensor '{name}' {text}", self.compiled(copy)[1])
            self.check_logits(copy, Context.checkpoint())
            self.accepted(call("quant-convert", "inspect", copy))
            self.accepted(self.shard(copy))
            for file in (self.folder / "shards").glob("*.safetensors"):
                self.assertFalse([one for one in header_of(file)[0] if set(name.split(".")) <= set(one.split(".")) or "inv_freq" in one])

    def test_norms_and_biases_that_are_no_numbers(self) -> None:
        for name, bits, text in ((NORM, 0x7FC0, "NaN"), (NORM, 0xFF80, "-inf"), (BIAS, np.inf, "inf"), (BIAS, np.nan, "NaN")):

            def spoil(tensors: Tensors) -> None:
                tensors[name][1][1] = bits

            copy = self.spoilt(spoil)
            for done in (compile_model(copy, self.folder / "x.qmod"), run_model(copy), self.shard(copy)):
                self.refused(done, f"tensor '{name}' in ", f"element 1 is {text}; norms and gate biases are finite")
            self.refuse_inspect(copy, f"tensor '{name}' has ")

    def test_experts(self) -> None:
        def convert(tensors: Tensors) -> None:
            weight = tensors[EXPERT + "up_proj.weight"][1]
            del tensors[EXPERT + "up_proj.weight_scale_inv"]
            tensors[EXPERT + "up_proj.weight"] = "BF16", np.full(weight.shape, 0x3F80, "<u2")

        mixed = self.spoilt(convert)
        self.refuse_compile(mixed, f"tensor '{EXPERT}up_proj.weight", "experts")

        def lose(tensors: Tensors) -> None:
            for name in [name for name in tensors if name.startswith(EXPERT)]:
                del tensors[name]

        for spoil in (lose, lambda tensors: [tensors.pop(EXPERT + "down_proj.weight" + end) for end in ("", "_scale_inv")]):
            missing = self.spoilt(spoil)
            for done in (compile_model(missing, self.folder / "x.qmod"), self.shard(missing)):
                self.refused(done, f"tensor '{EXPERT}down_proj.weight", "is missing, the model has 4 experts in that layer")
            self.refuse_inspect(missing, f"'{EXPERT}", "is missing")

    def test_mtp_without_its_shared_copies(self) -> None:
        """README_WEIGHTS.md: an MTP layer shares embedding and head with the model, and files need not hold them twice."""
        config = self.folder / "mtp.json"
        config.write_text(changed(CONFIG, num_nextn_predict_layers=1))
        made = self.folder / "mtp"
        self.accepted(call("quant-convert", "random", "--config", config, "--output", made, "--seed", "7"))
        shard = next(made.glob("*.safetensors"))
        shard.rename(made / "model.safetensors")
        (made / INDEX).unlink()
        tensors = read_tensors(made)
        for name in ("embed_tokens.weight", "shared_head.head.weight"):
            del tensors[f"model.layers.2.{name}"]
        write_safetensors(made / "model.safetensors", tensors, {"format": "pt"})
        self.check_logits(made)
        self.accepted(call("quant-convert", "inspect", made))
        self.accepted(self.shard(made))
        del tensors["model.layers.2.eh_proj.weight"]
        write_safetensors(made / "model.safetensors", tensors, {"format": "pt"})
        self.refuse_inspect(made, "'model.layers.2.eh_proj.weight' is missing")

    def test_overlay(self) -> None:
        """An edited model: the index maps a tensor to a small file, the old copy stays in the base shard."""
        for moved in (("model.norm.weight",), (WEIGHT, WEIGHT + "_scale_inv")):
            copy = self.sharded()
            tensors = read_tensors(Context.checkpoint())
            overlay = {name: (tensors[name][0], np.flip(tensors[name][1]).copy()) for name in moved}
            write_safetensors(copy / "overlay.safetensors", overlay, {"format": "pt"})
            self.write_index(copy, self.read_index(copy) | dict.fromkeys(moved, "overlay.safetensors"))
            merged = self.spoilt(lambda tensors: tensors.update(overlay))
            self.check_logits(copy, merged)
            self.accepted(call("quant-convert", "inspect", copy))
            self.accepted(self.shard(copy))
            out, want = self.folder / "o", self.folder / "want"
            for source, to in ((copy, out), (merged, want)):
                self.accepted(call("quant-convert", "cast-bf16", "--input-fp8-hf-path", source, "--output-bf16-hf-path", to, "--force"))
            self.check_logits(out, want)

    def test_shard_of_a_layer_that_did_not_arrive(self) -> None:
        for lost in ("model.layers.1.", WEIGHT, "model.norm.weight"):

            def lose(tensors: Tensors) -> None:
                for name in [name for name in tensors if name.startswith(lost)]:
                    del tensors[name]

            self.refused(self.shard(self.spoilt(lose)), "is missing, which config.json says that the model has")
