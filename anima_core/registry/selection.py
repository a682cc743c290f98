"""Which strategies take part in a run, and who answers each slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anima_core.errors import SetupError
from anima_core.registry.answers import check_answer
from anima_core.registry.blame import FaultError, carefully, way_out
from anima_core.registry.company import answers, check_company, refuse_missing, refuse_repeats
from anima_core.registry.guarded import GuardedPatch, guarded_records
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.names import CORE_DISTRIBUTION, canonical_reference
from anima_core.registry.offers import Offer, find_offer, offers
from anima_core.registry.options import build_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pluggy

    from anima_core.strategy import Options, Strategy


@dataclass(frozen=True)
class Provider:
    """One strategy that takes part.

    Attributes:
        strategy: its name.
        distribution, version: where it comes from.
        cls: its class.
        instance: the class, built with its options.
        default: whether it is the core's own, answering since nobody else does.
    """

    strategy: str
    distribution: str
    version: str
    cls: type[Strategy]
    instance: Strategy
    default: bool = False

    def __str__(self) -> str:
        return f"{self.strategy} (from {self.distribution} {self.version})"


@dataclass(frozen=True)
class Selection:
    """The strategies of one run.

    Attributes:
        strategies: options of every strategy that takes part, by name: those that were named
            first, in the order of the command line, then the core's defaults.
        named: options of those that were named, by the reference they were named with
            (``dist:name`` where it was said): what a run file holds.
        providers: who answers each slot.
        members: everyone who takes part, in the order of `strategies`.
    """

    strategies: Mapping[str, Options]
    named: Mapping[str, Options]
    providers: Mapping[str, Provider]
    members: tuple[Provider, ...]
    _manager: pluggy.PluginManager = field(repr=False, compare=False)

    def stack(self, hook: str) -> list[Provider]:
        """Those who implement a hook, in the order of the command line, defaults last."""
        return [member for member in self.members if hook in implemented(member.cls)]

    def call(self, slot: str, **arguments: Any) -> Any:
        """The one answer to a slot.

        What `read_data` gives is looked at record by record, as they come.

        Raises:
            AnimaError: as the strategy raised it.
            SetupError: the strategy raised anything else, answered what its specification does
                not allow, or replaced what every model of the process shares.
        """
        answer = self.ask(self.providers[slot], slot, arguments)
        if slot == "read_data":
            return guarded_records(answer, fault_of(self.providers[slot], slot))
        return answer

    def call_stack(self, hook: str, **arguments: Any) -> list[tuple[Provider, Any]]:
        """What each implementation of a hook answers, in the order of `stack`.

        A context manager of `patch_model` is watched as it is entered and left.

        Raises:
            AnimaError, SetupError: as in `call`.
        """
        answers = [(p, self.ask(p, hook, arguments)) for p in self.stack(hook)]
        if hook == "patch_model":
            return [(p, GuardedPatch(answer, fault_of(p, hook))) for p, answer in answers]
        return answers

    def cls_attribute(self, slot: str, name: str, default: Any) -> Any:
        """An optional class attribute of the strategy that answers a slot."""
        return getattr(self.providers[slot].cls, name, default)

    def ask(self, provider: Provider, hook: str, arguments: Mapping[str, Any]) -> Any:
        """What one member's implementation of a hook answers; raises as `call` does."""
        others = [m.instance for m in self.members if m is not provider]
        caller = self._manager.subset_hook_caller(hook, others)
        fault = fault_of(provider, hook)
        answer = carefully(lambda: caller(**arguments), fault)
        if _is_stack(hook):
            answer = answer[0] if answer else None
        problem = check_answer(hook, answer)
        if problem:
            raise fault(problem)
        return answer


def fault_of(provider: Provider, hook: str = "") -> Callable[[str], FaultError]:
    """Makes the error about a strategy, or about one of its hooks."""

    def fault(what: str) -> FaultError:
        said = f"its hook `{hook}` {what}" if hook else what
        name = "" if provider.default else provider.strategy
        return FaultError(said, where=str(provider), fix=way_out(provider.distribution, name))

    return fault


def select(
    requested: Mapping[str, Mapping[str, Any]],
    disabled: Iterable[str] = (),
    places: Mapping[str, str] | None = None,
) -> Selection:
    """Resolve the strategies that a user named, and let the core's defaults fill the rest.

    Args:
        requested: the options given to each named strategy, in the order of the command line;
            keys are names (either case) or ``dist:name``. Option values may be text.
        disabled: distributions to leave out.
        places: where a run file gives an option, by strategy and option (``lora.rank``).

    Raises:
        UsageError: an unknown or ambiguous strategy, a bad option, two answers to one slot, an
            unmet ``requires`` or a met ``conflicts``.
        SetupError: a selected strategy does not import or is not fit.
    """
    offered = offers(disabled)
    refuse_missing(list(requested), offered)
    named = [(reference, find_offer(reference, offered)) for reference in requested]
    refuse_repeats(named)
    members, options, by_reference = [], {}, {}
    for reference, offer in named:
        cls = load_strategy(offer)
        built = build_options(offer.name, cls.Options, requested[reference], places)
        members.append(_provider(offer, cls, built, default=False))
        options[offer.name] = built
        by_reference[canonical_reference(reference)] = built
    providers = answers(members)
    for slot in _slots():
        if slot not in providers:
            default = _default(slot, offered, members)
            providers[slot] = default
            if default not in members:
                members.append(default)
                options[default.strategy] = build_options(default.strategy, default.cls.Options, {})
    check_company(members, offered)
    in_order = {slot: providers[slot] for slot in _slots()}
    return Selection(options, by_reference, in_order, tuple(members), _manager(members))


def _slots() -> tuple[str, ...]:
    from anima_core.hookspecs import SLOTS

    return SLOTS


def _is_stack(hook: str) -> bool:
    from anima_core.hookspecs import HOOKS

    return HOOKS[hook].kind == "stack"


def _provider(offer: Offer, cls: type[Strategy], options: Options, *, default: bool) -> Provider:
    def fault(what: str) -> FaultError:
        fix = way_out(offer.distribution, offer.name)
        said = f"cannot be built: {what.removeprefix('failed: ')}"
        return FaultError(said, where=str(offer), fix=fix)

    instance = carefully(lambda: cls(options), fault)
    return Provider(offer.name, offer.distribution, offer.version, cls, instance, default)


def _default(slot: str, offered: Sequence[Offer], members: Sequence[Provider]) -> Provider:
    """The core's own strategy for a slot that nobody who was named answers."""
    from anima_core.hookspecs import HOOKS

    name = HOOKS[slot].default
    for member in members:
        if member.default and member.strategy == name:
            return member
    for offer in offered:
        if offer.name == name and offer.distribution == CORE_DISTRIBUTION:
            cls = load_strategy(offer)
            return _provider(offer, cls, build_options(name, cls.Options, {}), default=True)
    raise SetupError(
        f"the core's strategy `{name}`, which answers the slot `{slot}`, is not installed",
        where=CORE_DISTRIBUTION,
        fix=f"reinstall {CORE_DISTRIBUTION}",
    )


def _manager(members: Sequence[Provider]) -> pluggy.PluginManager:
    import pluggy

    from anima_core.hookspecs import PROJECT, AnimaSpecs

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(AnimaSpecs)
    for member in members:
        try:
            manager.register(member.instance, name=member.strategy)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise SetupError(f"cannot be registered: {error}", where=str(member)) from error
    return manager
