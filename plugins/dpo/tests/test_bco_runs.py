"""bco_pair in runs: its shift is that of the steps before, whatever broke off between them."""

from __future__ import annotations

import json

import pytest

import anima_core
from anima_core.runs.reporter import SilentReporter
from anima_core.testing import save_tiny, write_data


class Breaks(SilentReporter):
    """A run that ends in the middle."""

    def step(self, record):
        if record["step"] == 4:
            raise OSError("the disk is full")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs by name, on one model and one set of pairs: what their records say."""
    folder = tmp_path_factory.mktemp("bco")
    model, data = save_tiny(folder / "model"), write_data(folder / "pairs.jsonl", "preference")
    settings = {
        "steps": 6, "batch_size": 4, "save_every": 2, "dtype": "float32", "learning_rate": 3e-2,
        "device": "cpu",
    }  # fmt: skip

    def run(name, **options):
        dpo = {"loss": "bco_pair", "beta": 0.5} | options.pop("dpo", {})
        strategies = {"dpo": dpo, "lora": {}}
        out = folder / name
        anima_core.adapt(
            str(model), str(data), output=out, strategies=strategies, **(settings | options)
        )
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        timings = {"seconds", "tokens_per_second", "memory_bytes"}
        return [
            {name: value for name, value in json.loads(line).items() if name not in timings}
            for line in lines
        ]

    return run


def test_a_run_that_was_broken_off_goes_on_with_its_shift(made):
    whole = made("whole")
    assert len(whole) == 6
    assert abs(whole[-1]["rewards_mean"]) > 1e-3, "there is a shift to lose"
    with pytest.raises(Exception, match="disk is full"):
        made("broken", reporter=Breaks())
    assert made("broken", resume=True) == whole
    unshifted = made("unshifted", dpo={"bco_shift": False})
    assert unshifted[0]["loss"] == whole[0]["loss"]
    assert unshifted[-1]["loss"] != pytest.approx(whole[-1]["loss"], rel=1e-4)
