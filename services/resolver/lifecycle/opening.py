"""Puts the parts of operations together."""

from __future__ import annotations

from dataclasses import dataclass

from services.resolver.certificates import Certificates
from services.resolver.lifecycle.archives.export import backup_kind, export_kind
from services.resolver.lifecycle.archives.restore import Import
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.crash import CrashPoint
from services.resolver.lifecycle.feed import Feed
from services.resolver.lifecycle.kinds import Registry
from services.resolver.lifecycle.move import Move
from services.resolver.lifecycle.offboarding import Offboarding
from services.resolver.lifecycle.onboarding import Onboarding
from services.resolver.lifecycle.reencryption import Reencryption
from services.resolver.lifecycle.runner import Pace, Runner
from services.resolver.lifecycle.subject_erasure import SubjectErasure
from services.resolver.lifecycle.work import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """What gives the kinds of operations that this deployment knows."""

    onboarding: Onboarding
    offboarding: Offboarding
    reencryption: Reencryption
    subject_erasure: SubjectErasure
    move: Move
    imports: Import
    certificates: Certificates

    def registry(self) -> Registry:
        """The kinds."""
        return Registry(
            (
                self.onboarding.kind(),
                self.offboarding.kind(),
                self.reencryption.kind(),
                self.subject_erasure.kind(),
                self.move.kind(),
                self.imports.kind(),
                export_kind(self.certificates),
                backup_kind(self.certificates),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Operations, wired."""

    operations: Operations
    runner: Runner
    feed: Feed


def open_lifecycle(tools: Tools, *, kinds: Kinds, crash: CrashPoint, pace: Pace) -> Lifecycle:
    """The parts, none of them running yet."""
    registry, feed = kinds.registry(), Feed()
    runner = Runner(tools=tools, registry=registry, feed=feed, crash=crash, pace=pace)
    operations = Operations(store=tools.store, registry=registry, feed=feed, runner=runner)
    return Lifecycle(operations=operations, runner=runner, feed=feed)
