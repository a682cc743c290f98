"""The hooks that make the model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from anima_core.errors import AnimaError, SetupError

from .conftest import Runs, Seen

LOAD = """
@hookimpl
def load_model(self, run, config, attention):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        run.model_dir, config=config, attn_implementation=attention.name,
        dtype=run.torch_weights_dtype,
    ).to(run.device)
    model.lm_head.weight.data *= 2
    tell("load_model", run=run, config=config, attention=attention, model=model)
    return model
"""


def test_load_model(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Called once with the weights' folder and the attention; what it returns is trained."""
    strategy("own-loader", ("load_model",), LOAD)

    output = runs.train("own-loader", steps=1, learning_rate=1e-9)

    call = seen.one("load_model")
    assert list(call["run"].model_dir.glob("*.safetensors"))
    assert call["config"] is call["run"].model_config
    assert call["attention"].name == call["model"].config._attn_implementation
    saved = load_file(output / "model" / "model.safetensors")["model.embed_tokens.weight"]
    given = load_file(runs.model / "model.safetensors")["model.embed_tokens.weight"]
    torch.testing.assert_close(saved, 2 * given)


ADAPT = """
@hookimpl
def adapt_model(self, run, model):
    from safetensors.torch import load_file, save_file

    tell("adapt_model", run=run, model=model)
    model.requires_grad_(False)
    norm = model.model.norm.weight.requires_grad_(True)

    def save(folder):
        tell("save", folder=folder, empty=not any(folder.iterdir()))
        save_file({"norm": norm.detach()}, folder / "norm.safetensors")

    def load(folder):
        tell("load", folder=folder)
        norm.data.copy_(load_file(folder / "norm.safetensors")["norm"])

    trainable = {"model.norm.weight": norm}
    return anima_core.Adapter(model, trainable, save, load, merge=lambda: model)

@hookimpl
def patch_model(self, run, model):
    import contextlib

    tell("patch_model", model=model)
    return contextlib.nullcontext()
"""


def test_adapt_model(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """After `load_model`, before `patch_model`; it alone says what is trained, saved and loaded."""
    strategy("own-loader", ("load_model",), LOAD)
    strategy("own-adapter", ("adapt_model",), ADAPT)
    careless = ADAPT.replace("model.requires_grad_(False)", "pass")
    strategy("careless", ("adapt_model",), careless)

    output = runs.train("own-adapter", "own-loader", learning_rate=0.1)

    assert seen.names() == ["load_model", "adapt_model", "patch_model", "save"]
    model = seen.one("load_model")["model"]
    assert seen.one("adapt_model")["model"] is model
    assert seen.one("patch_model")["model"] is model
    assert seen.one("save")["empty"]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "model.norm.weight"
    ]
    saved = load_file(output / "adapter" / "norm.safetensors")["norm"]
    assert not torch.equal(saved, load_file(runs.model / "model.safetensors")["model.norm.weight"])

    runs.answer()
    assert seen.one("load")["folder"] == output / "adapter"
    assert torch.equal(seen.of("load_model")[1]["model"].model.norm.weight, saved)

    again = Runs(runs.model, runs.data, runs.output.with_name("again"))
    with pytest.raises(AnimaError, match=r"careless \(from third-careless 1\.2\)"):
        again.train("careless")
    assert not again.output.exists()


PATCH = """
@hookimpl
def patch_model(self, run, model):
    import contextlib

    @contextlib.contextmanager
    def patched():
        tell("enter " + NAME)
        inner = model.get_decoder()
        handle = inner.register_forward_pre_hook(lambda *_: tell("forward in " + NAME))
        try:
            yield
        finally:
            handle.remove()
            tell("leave " + NAME)

    tell("patch_model " + NAME, training=model.training, run=run)
    return patched()

@hookimpl
def configure_model(self, run, config):
    pass

@hookimpl
def callbacks(self, run):
    from transformers import TrainerCallback

    class Tells(TrainerCallback):
        def on_train_begin(self, *_, **__):
            tell("train")

        def on_train_end(self, *_, **__):
            tell("trained")

    return [Tells()] if NAME == "one" else []
"""


def test_patch_model(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """The first that was named is outermost, round training and generation; undone after both."""
    for name in ("one", "other"):
        strategy(name, (), PATCH.replace("NAME", repr(name)))
    failing = PATCH.replace("NAME", repr("late")).replace('tell("enter', 'tell(1 / 0, "')
    strategy("late", (), failing)

    runs.train("other", "one", steps=1)

    def told(words: list[str]) -> list[str]:
        return [name for name in seen.names() if name.split()[0] in words]

    around = ["enter", "leave", "train", "trained"]
    assert seen.names()[:4] == ["patch_model other", "patch_model one", "enter other", "enter one"]
    assert told(around) == [
        "enter other", "enter one", "train", "trained", "leave one", "leave other",
    ]  # fmt: skip
    trained = seen.names()[seen.names().index("train") : seen.names().index("trained")]
    # torch calls the hook that was registered first, first
    assert trained[1:3] == ["forward in other", "forward in one"]

    seen.calls.clear()
    runs.answer()
    assert told(["enter", "leave"]) == ["enter other", "enter one", "leave one", "leave other"]
    assert "forward in one" in seen.names()

    seen.calls.clear()
    again = Runs(runs.model, runs.data, runs.output.with_name("again"))
    with pytest.raises(SetupError, match="patch_model") as raised:
        again.train("one", "late")
    assert raised.value.where == "late (from third-late 1.2)"
    assert told(around) == ["enter one", "leave one"]
    assert not again.output.exists()
    manifest = json.loads((runs.output / "manifest.json").read_text())
    lines = [s["strategy"] for s in manifest["plan"]["slots"] if s["hook"] == "patch_model"]
    assert lines == ["other", "one"]
