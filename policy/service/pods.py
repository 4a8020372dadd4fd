"""Pods as they last reported themselves: tables, policy, budgets, the head of their audit log.

A report is names, types and totals; no row and no statement is in it. Rule to keep: what a pod says
of itself is shown as that, and decides nothing.
"""

from dataclasses import dataclass
from typing import Final

from podsql.messages import decode_as, encode
from podsql.policy.service.database import Database
from podsql.service_messages import PodReport

ONLINE_MS: Final = 90_000
"""A pod reports every 30 s, so three silent times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One pod. ``seen``: ms since the epoch."""

    name: str
    identity: bytes
    seen: int
    report: PodReport

    def online(self, now: int) -> bool:
        """Whether it reported lately."""
        return now - self.seen < ONLINE_MS


def keep(database: Database, name: str, identity: bytes, report: PodReport, now: int) -> None:
    """Keep a report in place of the earlier one."""
    database.log(
        "INSERT INTO pods VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " identity = excluded.identity, seen = excluded.seen, report = excluded.report",
        (name, identity, now, encode(report)),
    )


def pods(database: Database) -> list[Reported]:
    """Every pod that ever reported, by name."""
    return [
        Reported(
            name=row["name"],
            identity=row["identity"],
            seen=row["seen"],
            report=decode_as(PodReport, row["report"]),
        )
        for row in database.read("SELECT * FROM pods ORDER BY name")
    ]
