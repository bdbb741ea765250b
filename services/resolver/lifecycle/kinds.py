"""What a kind of operation is: named steps in their order, each safe to do again.

A kind stands in a file of its own in this folder and is registered in `bootstrap.py`. Its steps get a `Work`
(work.py): the tenant, what was asked for, a memory that survives crashes, the services under lifecycle contexts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.resolver.lifecycle.work import Work

Action = Callable[["Work"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a kind.

    Attributes:
        name: lower case with hyphens, unique within the kind; recorded, so it never changes its meaning.
        do: does it. It may be done again after a crash at any moment of it, and then does only what is missing.
        undo: takes it back on cancelling, whether it was done in full, in part or not at all; None where there is
            nothing to take back.
        final: from its beginning on the operation cannot be cancelled; see also `Work.leave_no_way_back`.
    """

    name: str
    do: Action
    undo: Action | None = None
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of operation.

    Attributes:
        name: lower case with hyphens, for example `onboarding`.
        steps: in the order in which they are done; they are undone in reverse.
        exclusive: whether the tenant has no other operation meanwhile.
        tenant_visible: whether the tenant's own people may see, cancel and resume it.
        kept: whether the record is kept for good; others are dropped some time after they are over.
    """

    name: str
    steps: tuple[Step, ...]
    exclusive: bool = True
    tenant_visible: bool = False
    kept: bool = False


class Registry:
    """The kinds that this deployment knows."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        """Takes the kinds.

        Raises:
            ValueError: two kinds, or two steps of one, have the same name.
        """
        self._kinds: dict[str, Kind] = {}
        for kind in kinds:
            names = [step.name for step in kind.steps]
            if kind.name in self._kinds or len(set(names)) != len(names) or not names:
                raise ValueError(
                    f"the kind {kind.name} is there twice, or its steps are not distinct"
                )
            self._kinds[kind.name] = kind

    def find(self, name: str) -> Kind | None:
        """The kind of that name, or None where this version has none."""
        return self._kinds.get(name)

    def kinds(self) -> tuple[Kind, ...]:
        """Every kind."""
        return tuple(self._kinds.values())
