"""Tokenizers built on the spot, and chat templates in the styles that models come with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from model_templates import modelled
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "user assistant system\nHello there, how are you today? I am fine, thanks.\n\n",
    "The answer is: 42.\nList:\n- one\n- two\n\n  indented text   \n",
    "你好，今天天气很好。 naïve café 🙂",
] * 20

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim }}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
OPEN = (
    "{% for m in messages %}{{ m['role'] | capitalize + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
THINK_LAST = (  # as Qwen3's: the last turn gets an empty block that earlier ones lack
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EOS_LAST = (  # as Phi-3's: EOS after the whole dialogue
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)
THINK_PROMPT = (  # as DeepSeek-R1's: the generation prompt holds what an answer lacks
    CHATML.replace(
        "<|im_start|>assistant\n' }}{% endif %}", "<|im_start|>assistant\n<think>' }}{% endif %}"
    )
)

STYLES = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "zephyr": (ZEPHYR, "</s>"),
    "open": (OPEN, "</s>"),
    "think-last": (THINK_LAST, "<|im_end|>"),
    "eos-last": (EOS_LAST, "<|endoftext|>"),
    "think-prompt": (THINK_PROMPT, "<|im_end|>"),
    "none": (None, "</s>"),
}
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
SPECIAL += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end|>"]


def _byte_level(trim: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    return tokenizer


def _metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: _byte_level(trim=False),
    "trimmed": lambda: _byte_level(trim=True),
    "metaspace": _metaspace,
}

Make = Callable[..., PreTrainedTokenizerFast]


@pytest.fixture(scope="session")
def make_tokenizer() -> Make:
    made: dict[tuple[str, str, bool], PreTrainedTokenizerFast] = {}

    def make(
        style: str = "chatml", kind: str = "bytes", *, bos: bool = False
    ) -> PreTrainedTokenizerFast:
        if (style, kind, bos) not in made:
            made[style, kind, bos] = build(style, kind, bos=bos)
        return made[style, kind, bos]

    return make


@pytest.fixture(scope="module")
def model(make_tokenizer: Make) -> Callable[[str], PreTrainedTokenizerFast]:
    """A tokenizer with the template and the special tokens of a model, by its name."""
    made: dict[str, PreTrainedTokenizerFast] = {}

    def get(name: str) -> PreTrainedTokenizerFast:
        if name not in made:
            made[name] = modelled(make_tokenizer("none"), name)
        return made[name]

    return get


def build(style: str, kind: str, *, bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = KINDS[kind]()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind != "metaspace" else []
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if kind == "metaspace" else []
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=700,
            show_progress=False,
            initial_alphabet=alphabet,
            special_tokens=SPECIAL + bytes_,
        ),
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    template, eos = STYLES[style]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=eos,
        unk_token="<unk>",
        pad_token=eos,  # as SmolLM2's: padding must decide nothing
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
    extra = [t for t in SPECIAL if t not in ("<s>", "<unk>", eos)]
    fast.add_special_tokens({"additional_special_tokens": extra})
    return fast
