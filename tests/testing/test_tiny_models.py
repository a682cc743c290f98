"""Tiny models and their tokenizer are what the tests that use them suppose."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from anima_core.testing import FAMILIES, save_tiny, tiny_config, tiny_model, tiny_tokenizer

TEXT = "Hi 12\n é 中文 🙂\t"
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_fixes_the_weights(family):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model, same, other = tiny_model(family), tiny_model(family), tiny_model(family, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, a), b in zip(model.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.dtype == torch.float32
    assert any(
        not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    assert sum(p.numel() for p in model.parameters()) < 200_000
    assert not model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_no_dropout_is_left(family):
    model = tiny_model(family).train()
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_configs_are_not_shared():
    first, second = tiny_model(), tiny_model(attn_implementation="sdpa")
    assert first.config._attn_implementation == "eager"
    assert second.config._attn_implementation == "sdpa"


def test_families_are_hard_in_their_own_way():
    assert tiny_config("mistral").sliding_window == 6
    gemma = tiny_config("gemma2")
    assert gemma.attn_logit_softcapping
    assert gemma.final_logit_softcapping
    assert set(gemma.layer_types) == {"sliding_attention", "full_attention"}
    assert gemma.query_pre_attn_scalar != gemma.head_dim
    biases = [p for n, p in tiny_model("qwen2").named_parameters() if n.endswith("q_proj.bias")]
    assert all(bool(b.any()) for b in biases)
    assert len(biases) == 2
    ties = {f: tiny_config(f).tie_word_embeddings for f in FAMILIES}
    assert set(ties.values()) == {True, False}
    with pytest.raises(ValueError, match="unknown family 'bert'"):
        tiny_config("bert")


def test_overrides_reach_the_config():
    model = tiny_model("llama", vocab=300, num_hidden_layers=1, tie_word_embeddings=False)
    assert model.get_output_embeddings().weight.shape == (300, 64)
    assert len(model.model.layers) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_is_read_back(family, tmp_path):
    folder = save_tiny(tmp_path / "model", family)
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.bin"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.encode(TEXT) == tiny_tokenizer().encode(TEXT)
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (2, 2)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ids = torch.tensor([tokenizer.encode(TEXT)])
    torch.testing.assert_close(model(ids).logits, tiny_model(family)(ids).logits)


def test_the_tokenizer_has_smollm2s_habits():
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.model_max_length > 1e29
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    user, assistant = "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>assistant\n"
    assert text == f"{user}{assistant}Yes?<|im_end|>\n"
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == user + assistant
    assert tokenizer.encode(text).count(tokenizer.eos_token_id) == 2
    assert len(tokenizer) < tiny_config().vocab_size
