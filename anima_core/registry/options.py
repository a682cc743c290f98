"""Build a strategy's options from what a user gave, or say what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anima_core.registry.names import kebab, snake

if TYPE_CHECKING:
    from anima_core.strategy import Options


def option_flag(strategy: str, option: str) -> str:
    """How a strategy's option is written on the command line: ``--qlora.quant-type``."""
    return f"--{strategy}.{kebab(option)}"


def build_options(
    strategy: str,
    model: type[Options],
    given: Mapping[str, Any],
    places: Mapping[str, str] | None = None,
) -> Options:
    """Validate the options given to a strategy; absent ones take their default.

    Args:
        strategy: its name.
        model: its ``Options``.
        given: values by option name, in either case; text is read by the option's type.
        places: where a value stands in a run file, by strategy and option (``lora.rank``).

    Raises:
        UsageError: naming each faulty option, its value and what was expected.
    """
    from pydantic import ValidationError

    from anima_core.config.explain import explain
    from anima_core.config.text import from_text

    values = {snake(name): value for name, value in given.items()}
    try:
        return model.model_validate(from_text(model, values))
    except ValidationError as error:
        found = {name: (places or {}).get(f"{strategy}.{name}", "") for name in values}
        raise explain(
            error, model, lambda name: option_flag(strategy, name), f"--{strategy}", found
        ) from error
