"""Which strategies take part in a run, and who answers each slot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anima_core.errors import SetupError, UsageError
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.names import CORE_DISTRIBUTION, split_reference
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

        Raises:
            AnimaError: as the strategy raised it.
            SetupError: the strategy raised anything else, or answered None.
        """
        provider = self.providers[slot]
        answer = self._call_one(provider, slot, arguments)
        if answer is None:
            raise self._failure(provider, slot, "answered None")
        return answer

    def call_stack(self, hook: str, **arguments: Any) -> list[tuple[Provider, Any]]:
        """What each implementation of a hook answers, in the order of `stack`.

        Raises:
            AnimaError: as a strategy raised it.
            SetupError: a strategy raised anything else.
        """
        return [(p, self._call_one(p, hook, arguments)) for p in self.stack(hook)]

    def cls_attribute(self, slot: str, name: str, default: Any) -> Any:
        """An optional class attribute of the strategy that answers a slot."""
        return getattr(self.providers[slot].cls, name, default)

    def _call_one(self, provider: Provider, hook: str, arguments: Mapping[str, Any]) -> Any:
        from anima_core.errors import AnimaError

        others = [m.instance for m in self.members if m is not provider]
        caller = self._manager.subset_hook_caller(hook, others)
        try:
            answer = caller(**arguments)
        except AnimaError:
            raise
        except Exception as error:
            what = f"failed: {type(error).__name__}: {error}"
            raise self._failure(provider, hook, what) from error
        if _is_stack(hook):
            return answer[0] if answer else None
        return answer

    @staticmethod
    def _failure(provider: Provider, hook: str, what: str) -> SetupError:
        return SetupError(f"its hook `{hook}` {what}", where=str(provider))


def select(requested: Mapping[str, Mapping[str, Any]], disabled: Iterable[str] = ()) -> Selection:
    """Resolve the strategies that a user named, and let the core's defaults fill the rest.

    Args:
        requested: the options given to each named strategy, in the order of the command line;
            keys are names (either case) or ``dist:name``. Option values may be text.
        disabled: distributions to leave out.

    Raises:
        UsageError: an unknown or ambiguous strategy, a bad option, two answers to one slot, an
            unmet ``requires`` or a met ``conflicts``.
        SetupError: a selected strategy does not import or is not fit.
    """
    offered = offers(disabled)
    named = [(reference, find_offer(reference, offered)) for reference in requested]
    _refuse_repeats(named)
    members, options, by_reference = [], {}, {}
    for reference, offer in named:
        cls = load_strategy(offer)
        built = build_options(offer.name, cls.Options, requested[reference])
        members.append(_provider(offer, cls, built, default=False))
        options[offer.name] = built
        distribution, name = split_reference(reference)
        by_reference[f"{distribution}:{name}" if distribution else name] = built
    providers = _answers(members)
    for slot in _slots():
        if slot not in providers:
            default = _default(slot, offered, members)
            providers[slot] = default
            if default not in members:
                members.append(default)
                options[default.strategy] = build_options(default.strategy, default.cls.Options, {})
    _check_company(members)
    in_order = {slot: providers[slot] for slot in _slots()}
    return Selection(options, by_reference, in_order, tuple(members), _manager(members))


def _slots() -> tuple[str, ...]:
    from anima_core.hookspecs import SLOTS

    return SLOTS


def _is_stack(hook: str) -> bool:
    from anima_core.hookspecs import HOOKS

    return HOOKS[hook].kind == "stack"


def _provider(offer: Offer, cls: type[Strategy], options: Options, *, default: bool) -> Provider:
    from anima_core.errors import AnimaError

    try:
        instance = cls(options)
    except AnimaError:
        raise
    except Exception as error:
        raise SetupError(
            f"cannot be built: {type(error).__name__}: {error}", where=str(offer)
        ) from error
    return Provider(offer.name, offer.distribution, offer.version, cls, instance, default)


def _refuse_repeats(named: Sequence[tuple[str, Offer]]) -> None:
    seen: dict[str, Offer] = {}
    for _, offer in named:
        if offer.name in seen:
            raise UsageError(
                f"{seen[offer.name].reference} and {offer.reference} are one strategy's name twice",
                where=f"--{offer.name}",
                fix="name one of them",
            )
        seen[offer.name] = offer


def _answers(members: Sequence[Provider]) -> dict[str, Provider]:
    """Who answers each slot, among those that were named."""
    answers: dict[str, Provider] = {}
    for member in members:
        for slot in member.cls.slots:
            if slot in answers:
                first = answers[slot]
                raise UsageError(
                    f"{first} and {member} both answer the slot `{slot}`",
                    where=f"--{first.strategy} --{member.strategy}",
                    fix="name one of them",
                )
            answers[slot] = member
    return answers


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


def _check_company(members: Sequence[Provider]) -> None:
    """What the members demand of one another."""
    present = {member.strategy: member for member in members}
    for member in members:
        for name in member.cls.requires:
            if name not in present:
                raise UsageError(
                    f"{member} needs the strategy `{name}`",
                    where=f"--{member.strategy}",
                    fix=f"add --{name}",
                )
        for name in member.cls.conflicts:
            if name in present:
                raise UsageError(
                    f"{member} cannot run beside {present[name]}",
                    where=f"--{member.strategy} --{name}",
                    fix="name one of them",
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
