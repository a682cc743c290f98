"""Chat templates in the shapes of those that models come with, and what is learnt by each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dialogues import say
from transformers import AddedToken, PreTrainedTokenizerFast

from anima_core.data.formats import Example

TEMPLATES = Path(__file__).parent / "data" / "templates"

IM = ["<|im_start|>", "<|im_end|>"]
HEADER = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
COHERE = ["<|START_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"]

# EOS, the other special tokens, what ends an answer's turn, and the last one's.
MODELS: dict[str, tuple[str, list[str], str, str]] = {
    "chatml": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "command-r": ("<|END_OF_TURN_TOKEN|>", COHERE, *["<|END_OF_TURN_TOKEN|>"] * 2),
    "deepseek": (
        "<｜end▁of▁sentence｜>", ["<｜User｜>", "<｜Assistant｜>"], *["<｜end▁of▁sentence｜>"] * 2,
    ),
    "gemma": ("<eos>", ["<start_of_turn>", "<end_of_turn>"], *["<end_of_turn>"] * 2),
    "granite": (
        "<|end_of_text|>", ["<|start_of_role|>", "<|end_of_role|>"], *["<|end_of_text|>"] * 2,
    ),
    "hermes-tools": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "llama-2": ("</s>", [], " </s>", " </s>"),
    "llama-3": ("<|eot_id|>", HEADER, "<|eot_id|>", "<|eot_id|>"),
    "mistral": ("</s>", ["[INST]", "[/INST]"], "</s>", "</s>"),
    "phi-3": (
        "<|endoftext|>", ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        "<|end|>", "<|end|>\n<|endoftext|>",
    ),
    "qwen3": ("<|im_end|>", IM, "<|im_end|>", "<|im_end|>"),
    "zephyr": ("</s>", [], "</s>", "</s>"),
}  # fmt: skip
MARKING = ["chatml", "llama-3", "mistral", "qwen3"]  # those with {% generation %} blocks as well
MODELS |= {f"{name}-generation": MODELS[name] for name in MARKING}
NAMES = sorted(MODELS)
NO_SYSTEM = {"gemma"}
TOOLS = ["hermes-tools", "qwen3", "qwen3-generation"]


def with_template(
    base: PreTrainedTokenizerFast, template: str | None, eos: str, special: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    text = base.backend_tokenizer.to_str()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(base.backend_tokenizer).from_str(text),
        bos_token="<s>",
        eos_token=eos,
        unk_token="<unk>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
    tokens = [AddedToken(t, special=True, normalized=False) for t in special]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


def modelled(base: PreTrainedTokenizerFast, name: str) -> PreTrainedTokenizerFast:
    """A tokenizer with the template and the special tokens of a model."""
    eos, special, *_ = MODELS[name]
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return with_template(base, template, eos, special)


def completion(*turns: str, **more: Any) -> Example:
    return Example(say(*turns), "messages", file="x.jsonl", line=7, **more)


def text_of(tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    text = tokenizer.apply_chat_template(
        list(example.messages), tools=list(example.tools) or None, tokenize=False
    )
    assert isinstance(text, str)
    return text.rstrip()


def answers_of(name: str, *answers: str) -> list[str]:
    """What is to be learnt of some answers, by the template's own rules."""
    middle, last = MODELS[name][2:]
    name = name.removesuffix("-generation")
    before = " " if name in ("llama-2", "mistral") else ""
    out = [before + a + (middle if i < len(answers) - 1 else last) for i, a in enumerate(answers)]
    if name == "qwen3":
        out[-1] = "<think>\n\n</think>\n\n" + out[-1]
    return out


DIALOGUES = [
    ["u:Hello", "a:The answer is: 42."],
    ["u:List", "a:- one\n- two", "u:more", "a:fine,\n\nthanks"],
    ["s:Be kind.", "u:Hello", "a:fine"],
    ["s:Be kind.", "u:你好", "a:今天天气很好。🙂", "u:one", "a:two", "u:three", "a:naïve café"],
]
