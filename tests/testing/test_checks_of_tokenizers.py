"""The check of tokenizer loaders passes the core's, and names each planted defect."""

from __future__ import annotations

import pytest
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer

from anima_core import NoOptions
from anima_core.model.tokenizer import AutoTokenizerStrategy
from anima_core.testing import check_tokenizer


def core(run):
    return AutoTokenizerStrategy(NoOptions()).load_tokenizer(run)


def test_the_cores_passes():
    check_tokenizer(core)


def unsettled(run):
    return AutoTokenizer.from_pretrained(run.model_dir)


def without_eos(run):
    tokenizer = core(run)
    tokenizer.eos_token = None
    return tokenizer


def without_template(run):
    tokenizer = core(run)
    tokenizer.chat_template = None
    return tokenizer


def with_template(template):
    def load(run):
        tokenizer = core(run)
        tokenizer.chat_template = template
        return tokenizer

    return load


def lower_cased(run):
    tokenizer = core(run)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def stripped(run):
    tokenizer = core(run)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


ONLY_ANSWERS = "{% for m in messages if m.role == 'assistant' %}{{ m.content }}{% endfor %}"
MOVES = (
    "{% if not add_generation_prompt %}Answered. {% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (unsettled, "without a padding token, pad_token_id is None"),
        (without_eos, "eos_token_id is None"),
        (without_template, "no chat template"),
        (with_template(ONLY_ANSWERS), "leaves out what the user says"),
        (with_template(MOVES), "does not begin with its prompt"),
        (lower_cased, "'Say it in one word.' comes back as 'say it"),
        (stripped, "comes back as"),
        (lambda run: core(run).backend_tokenizer, "returned a Tokenizer"),
    ],
)
def test_the_defect_is_named(load, said):
    with pytest.raises(AssertionError, match=said):
        check_tokenizer(load)
