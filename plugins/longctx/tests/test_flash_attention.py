"""The choice of a kernel, what is said of it, and PyTorch's own as the last resort."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec

import pytest
import torch
from anima_longctx import flash_choice
from anima_longctx.flash_attention import FlashAttention2, FlashAttention2Options
from anima_longctx.flash_choice import choose, odd_heads
from anima_longctx.torch_flash import torch_flash
from torch.nn.attention import SDPBackend

from anima_core.testing import check_segment_isolation, run_context, tiny_config, tiny_model


def varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softcap=0.0):
    raise AssertionError("nothing is computed here")


def install(monkeypatch, name, **content):
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for key, value in content.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def machine(monkeypatch):
    """An Ampere GPU with neither flash-attn nor kernels installed."""
    real = flash_choice.find_spec

    def find(name):
        return sys.modules[name].__spec__ if name in sys.modules else None

    assert real("torch") is not None
    monkeypatch.setattr(flash_choice, "find_spec", find)
    for name in ("flash_attn", "kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    return monkeypatch


def strategy(fallback="torch"):
    return FlashAttention2(FlashAttention2Options(fallback=fallback))


def gpu_run(**core):
    return run_context(**{"device": "cuda", "dtype": "bfloat16", **core})


def test_flash_attn_comes_first(machine):
    install(machine, "flash_attn", flash_attn_varlen_func=varlen, __version__="2.8.3")
    install(machine, "kernels")
    choice = choose("cuda:0", "bfloat16", trust_remote_code=True)
    assert (choice.kernel, choice.note) == ("package", "flash-attn 2.8.3")
    attention = strategy().attention(gpu_run())
    assert attention.name == "anima_fa2_varlen"
    assert attention.dtypes == ("float16", "bfloat16")
    assert attention.note == "flash-attn 2.8.3"
    assert attention.segments
    assert attention.shared_prefix
    assert attention.sliding_window
    assert attention.softcap
    assert strategy("error").validate(gpu_run()) == []


def test_the_hub_s_kernel_comes_next_where_remote_code_may_run(machine):
    asked = {}

    def get_kernel(repo, **how):
        asked.update(how, repo=repo)
        return types.SimpleNamespace(flash_attn_varlen_func=varlen)

    install(machine, "kernels", get_kernel=get_kernel)
    choice = choose("cuda", "float16", trust_remote_code=True)
    assert choice.kernel == "hub"
    assert choice.varlen is varlen
    assert asked["repo"] == "kernels-community/flash-attn2"
    assert asked["version"] in (3, 4)
    asked.clear()
    choice = choose("cuda", "float16")
    assert not asked
    assert choice.kernel == "torch"
    assert "--trust-remote-code" in choice.why


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "heads", "why"),
    [
        ("cpu", "bfloat16", (8, 0), "", "needs CUDA, and this runs on cpu"),
        ("cuda", "float32", (8, 0), "", "float16 or bfloat16, and this runs in float32"),
        ("cuda", "float16", (7, 5), "", "compute capability 8.0"),
        ("cuda", "float16", (8, 0), "heads of 512", "heads of 512"),
        (
            "cuda",
            "float16",
            (9, 0),
            "",
            "flash-attn is not installed, and kernels is not installed",
        ),
    ],
)
def test_what_stands_in_the_way_is_said(machine, device, dtype, capability, heads, why):
    if device == "cpu" or dtype == "float32" or heads or capability < (8, 0):
        install(machine, "flash_attn", flash_attn_varlen_func=varlen, __version__="2.8.3")
    machine.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    choice = choose(device, dtype, odd_heads=heads)
    assert choice.kernel == "torch"
    assert why in choice.note
    assert choice.note.startswith("PyTorch's own flash kernel")
    assert choice.fix


def test_a_flash_attn_that_does_not_import_or_is_old_is_not_used(machine):
    install(machine, "flash_attn")
    assert "does not import" in choose("cuda", "float16").why
    install(machine, "flash_attn", flash_attn_varlen_func=lambda q, k, v: q, __version__="2.5.9")
    assert "flash-attn 2.5.9 is older than 2.6" in choose("cuda", "float16").why


def test_a_hub_that_cannot_be_reached_is_not_used(machine):
    def get_kernel(repo, **how):
        raise OSError("no route to the hub\nand more")

    install(machine, "kernels", get_kernel=get_kernel)
    choice = choose("cuda", "float16", trust_remote_code=True)
    assert choice.kernel == "torch"
    assert "(no route to the hub)" in choice.why


def test_fallback_error_refuses_before_anything_loads(machine):
    assert strategy().validate(gpu_run()) == []
    (problem,) = strategy("error").validate(gpu_run())
    assert problem.level == "error"
    assert problem.where == "--flash-attention-2.fallback"
    assert "flash-attn is not installed" in problem.what
    assert "pip install flash-attn" in problem.fix
    (problem,) = strategy("error").validate(run_context())
    assert "needs CUDA" in problem.what


def test_heads_that_do_not_fit():
    assert odd_heads(tiny_config()) == ""
    assert "512" in odd_heads(tiny_config(head_dim=512))
    config = tiny_config()
    config.v_head_dim = 8
    assert "another size" in odd_heads(config)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_on_a_cpu_pytorch_s_kernel_keeps_segments_apart(family):
    attention = strategy().attention(run_context())
    assert attention.dtypes == ()
    assert "needs CUDA" in attention.note
    check_segment_isolation(tiny_model(family, attn_implementation=attention.name))


def test_on_cuda_pytorch_s_flash_kernel_is_preferred(monkeypatch):
    seen = []

    def attend(query, key, value, **how):
        seen.append(torch._C._get_sdp_priority_order())
        return query

    monkeypatch.setattr("anima_longctx.torch_flash.segment_sdpa", attend)
    states = torch.zeros(2, 1, 8)
    how = {"layout": (), "scale": 1.0, "window": None, "softcap": None}
    before = torch._C._get_sdp_priority_order()
    torch_flash("cuda:0")(states, states, states, **how)
    assert seen[0][0] == int(SDPBackend.FLASH_ATTENTION)
    assert torch._C._get_sdp_priority_order() == before
    assert torch_flash("cpu") is attend


def test_the_doctor_says_which_kernel_this_machine_gets(machine):
    machine.setattr(torch.cuda, "is_available", lambda: False)
    (finding,) = strategy().diagnose()
    assert (finding.level, finding.fix) == ("ok", "")
    assert "needs CUDA" in finding.what
    machine.setattr(torch.cuda, "is_available", lambda: True)
    (finding,) = strategy().diagnose()
    assert finding.level == "warning"
    assert "pip install" in finding.fix
    install(machine, "kernels")
    (finding,) = strategy().diagnose()
    assert finding.level == "ok"
    assert "--trust-remote-code" in finding.what


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_chosen_kernel_keeps_segments_apart():
    attention = strategy().attention(run_context(device="cuda", dtype="bfloat16"))
    model = tiny_model("llama", attn_implementation=attention.name).to("cuda")
    check_segment_isolation(model, tolerance=5e-2)
