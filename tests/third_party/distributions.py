"""Third parties' distributions, sound and unsound."""

from __future__ import annotations

from .making import ThirdParty, judging, loss, one, stack

PATCHING = """
import contextlib

@contextlib.contextmanager
def patched():
    from torch.nn import functional
    functional.gelu = lambda x, approximate="none": x
    yield

class Mine(Base):
    @hookimpl
    def patch_model(self, run, model):
        return patched()
"""

MUTATING = """from torch.nn import functional
        functional.softmax = lambda x, dim=None: x
        return Sum()"""

PATCH_RAISING = """
import contextlib

@contextlib.contextmanager
def patched():
    raise OSError("no such kernel")
    yield

class Mine(Base):
    @hookimpl
    def patch_model(self, run, model):
        return patched()
"""

OPTIONS = """
class MineOptions(anima_core.Options):
    patience: int = Field(default=3, ge=1, le=9, description="Steps to wait.")
    cooling: float = Field(default=0.5, gt=0, description="Factor by which it cools.")

class Mine(Base):
    Options = MineOptions

    @hookimpl
    def callbacks(self, run):
        return []
"""

BAD_DEFAULT_SOURCE = """
class MineOptions(anima_core.Options):
    patience: int = Field(default=0, ge=1, description="Steps to wait.")

class Mine(Base):
    Options = MineOptions

    @hookimpl
    def callbacks(self, run):
        return []
"""

READER = """
class Mine(Base):
    slots = ("read_data",)

    @hookimpl
    def read_data(self, run, sources):
        for n in range(8):
            yield {"prompt": f"Say {n}", "completion": "one"}
"""

UNMARKED = """
class Mine(Base):
    def callbacks(self, run):
        return []
"""

LATE_MUTATING = """from torch.nn import functional
        functional.silu = lambda x, inplace=False: x
        return anima_core.LossOutput({"total": -logps.sum()})"""

KERNEL = """
class Mine(Base):
    slots = ("token_logps",)

    @hookimpl
    def token_logps(self, run):
        return lambda hidden, head, target: "log-probs"
"""

CALLBACK = """
class Mine(Base):
    @hookimpl
    def callbacks(self, run):
        from transformers import TrainerCallback

        class Tracker(TrainerCallback):
            def on_step_end(self, *args, **kwargs):
                raise ValueError("no tracker")

        return [Tracker()]
"""

STEP = """
class Mine(Base):
    slots = ("optimizer",)

    @hookimpl
    def optimizer(self, run, groups):
        import torch

        class Stuck(torch.optim.SGD):
            def step(self, closure=None):
                raise RuntimeError("no step")

        return Stuck(groups, lr=run.config.learning_rate)
"""

CHATTY = "print('thank you for choosing third-chatty')\n" + "class Mine(Base):\n    pass\n"

ABSENT = one("third-absent", "absent", "import a_package_that_nobody_has\n", "1.1")
RAISES = one("third-raises", "raises", "raise RuntimeError('no licence found')\n", "1.2")
EXITS = one("third-exits", "exits", "import sys\nsys.exit(0)\n", "1.3")
FUTURE = one("third-future", "future", loss("return Sum()", head="    api = 99\n"), "1.4")
DEFAULT = one(
    "third-default", "default",
    loss("return Sum()").replace("self, run)", "self, run=None)"), "1.5",
)  # fmt: skip
MISSPELT = one(
    "third-misspelt", "misspelt", stack("optimiser", "self, run, groups", "return None"), "1.6"
)
UNMARKED_METHOD = one("third-unmarked", "unmarked", UNMARKED, "1.7")
UPPER = one("third-upper", "Loud", stack("callbacks", "self, run", "return []"), "1.8")
RESERVED = one("third-reserved", "steps", stack("callbacks", "self, run", "return []"), "1.9")
NO_CLASS = one("third-no-class", "no-class", "def Mine(options):\n    return None\n", "1.10")
NO_NAME = ThirdParty("third-no-name", "1.11", "class Other:\n    pass\n", {"no-name": "Mine"})
BAD_DEFAULT = one("third-bad-default", "bad-default", BAD_DEFAULT_SOURCE, "1.12")

LOSS_RAISES = one("third-loss-raises", "loss-raises", loss("return 1 / 0"), "2.1")
LOSS_EXITS = one("third-loss-exits", "loss-exits", loss("raise SystemExit(0)"), "2.2")
WRONG_TYPE = one(
    "third-wrong-type", "wrong-type",
    "class Mine(Base):\n    slots = ('token_logps',)\n\n"
    "    @hookimpl\n    def token_logps(self, run):\n        return 'log-probs'\n",
    "2.3",
)  # fmt: skip
MUTATES = one("third-mutates", "mutates", loss(MUTATING), "2.4")
PATCHES = one("third-patches", "patches", PATCHING, "2.5")
PATCH_RAISES = one("third-patch-raises", "patch-raises", PATCH_RAISING, "2.10")
NO_RECORDS = one("third-no-records", "no-records", READER, "2.6")
VALIDATES = one(
    "third-validates", "validates", stack("validate", "self, run", "return ['too big']"), "2.7"
)
UNBUILT = one(
    "third-unbuilt", "unbuilt",
    "class Mine(Base):\n    def __init__(self, options):\n        raise OSError('no dongle')\n",
    "2.8",
)  # fmt: skip
NO_CALLBACKS = one(
    "third-no-callbacks", "no-callbacks", stack("callbacks", "self, run", "return 7"), "2.9"
)

DIAGNOSE_RAISES = one(
    "third-diagnose-raises", "diagnose-raises", stack("diagnose", "self", "return 1 / 0"), "3.1"
)
DIAGNOSE_WRONG = one(
    "third-diagnose-wrong", "diagnose-wrong", stack("diagnose", "self", "return ['fine']"), "3.2"
)

LATE_LOSS = one("third-late-loss", "late-loss", judging("raise KeyError('gone')"), "5.1")
LATE_EXIT = one("third-late-exit", "late-exit", judging("raise SystemExit(0)"), "5.2")
LATE_OUTPUT = one("third-late-output", "late-output", judging("return -logps.sum()"), "5.3")
LATE_TOTAL = one(
    "third-late-total", "late-total",
    judging("return anima_core.LossOutput({'other': -logps.sum()})"), "5.4",
)  # fmt: skip
LATE_MUTATION = one("third-late-mutation", "late-mutation", judging(LATE_MUTATING), "5.5")
LATE_KERNEL = one("third-late-kernel", "late-kernel", KERNEL, "5.6")
LATE_CALLBACK = one("third-late-callback", "late-callback", CALLBACK, "5.7")
LATE_STEP = one("third-late-step", "late-step", STEP, "5.8")

TWIN_A = one("third-twin-a", "twin", loss("return Sum()"), "4.1")
TWIN_B = one("third-twin-b", "twin", loss("return Sum()"), "4.2")
SHADOW = one("third-shadow", "sft", loss("return Sum()"), "4.3")
SHADOW_LORA = one("third-shadow-lora", "lora", stack("callbacks", "self, run", "return []"), "4.4")
PATIENT = one("third-patient", "patient", OPTIONS, "4.5")
NEEDS = one(
    "third-needs", "needs", loss("return Sum()", head="    requires = ('companion',)\n"), "4.6"
)
COMPANION = one(
    "third-companion", "companion",
    stack("callbacks", "self, run", "return []", head="    conflicts = ('xentropy',)\n"), "4.7",
)  # fmt: skip
CHATTERBOX = one("third-chatty", "chatty", CHATTY, "4.8")

KILLS = one("third-kills", "kills", "import os\nos._exit(0)\n", "1.13")
"""Ends the process that imports it, past every handler."""

UNFIT = {
    ABSENT: "does not import: ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    RAISES: "does not import: RuntimeError: no licence found",
    EXITS: "does not import: SystemExit: 0",
    FUTURE: "it is built for hook API 99; this Anima",
    DEFAULT: "the parameter `run` of its hookimpl `loss` has a default",
    MISSPELT: "there is no hook `optimiser`; did you mean optimizer?",
    UNMARKED_METHOD: "its method `callbacks` is named like a hook but not marked",
    UPPER: "the name 'Loud' is not lower-case words",
    RESERVED: "the name 'steps' belongs to the core's option --steps",
    NO_CLASS: "its entry point is not a class",
    NO_NAME: "does not import: AttributeError",
    BAD_DEFAULT: "its option `patience` has a default that is not valid",
}
"""Those that can be known to be unfit without a run, and what is said of them."""

FAULTY = {
    LOSS_RAISES: "its hook `loss` failed: ZeroDivisionError: division by zero",
    LOSS_EXITS: "its hook `loss` failed: SystemExit: 0",
    WRONG_TYPE: "its hook `token_logps` answered 'log-probs'",
    MUTATES: "its hook `loss` replaced torch.nn.functional.softmax",
    PATCHES: "its hook `patch_model` replaced torch.nn.functional.gelu",
    PATCH_RAISES: "its hook `patch_model` failed: OSError: no such kernel",
    NO_RECORDS: "its hook `read_data` gave {",
    VALIDATES: "its hook `validate` answered a list with 'too big' in it",
    NO_CALLBACKS: "its hook `callbacks` answered 7",
    UNBUILT: "cannot be built: OSError: no dongle",
}
"""Those whose hooks fail, and what is said of them."""

LATE = {
    LATE_LOSS: "failed: KeyError: 'gone'",
    LATE_EXIT: "failed: SystemExit: 0",
    LATE_OUTPUT: "it returned [] float32, not an anima_core.LossOutput",
    LATE_TOTAL: "its total `other` has no denominator of that name (it has total)",
    LATE_MUTATION: "it replaced torch.nn.functional.silu",
    LATE_KERNEL: "its kernel returned a str",
    LATE_CALLBACK: "failed: ValueError: no tracker",
    LATE_STEP: "failed: RuntimeError: no step",
}
"""Those whose hooks return what fails only when it works, and what is said of them."""

ILL = {
    DIAGNOSE_RAISES: "`diagnose` failed: ZeroDivisionError: division by zero",
    DIAGNOSE_WRONG: "'fine'",
}
"""Those who fail the doctor, and what is said of them."""

SOUND = (TWIN_A, TWIN_B, SHADOW, SHADOW_LORA, PATIENT, NEEDS, COMPANION, CHATTERBOX)
"""Those with nothing wrong but their company."""

EVERYONE = (KILLS, *UNFIT, *FAULTY, *LATE, *ILL, *SOUND)
