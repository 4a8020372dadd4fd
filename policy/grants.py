"""Grants in force, as pure functions. Rule to keep: a right is what *every* service grants."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from podsql.policy.document import Release
from podsql.policy.rights import strictest
from podsql.service_messages import Grant


def in_force(
    grant: Grant, *, analyst: bytes, pod: str, purpose: str, project: str, now: int
) -> bool:
    """Whether ``grant`` speaks for this analyst, pod, purpose and project at ``now`` (ms)."""
    return (
        grant.analyst == analyst
        and fnmatchcase(pod, grant.pod)
        and grant.purpose in ("*", purpose)
        and grant.project in ("*", project)
        and grant.since <= now < grant.until
    )


def covers(grant: Grant, table: str) -> bool:
    """Whether ``grant`` names ``table`` (``schema.table``, or a pattern)."""
    return any(fnmatchcase(table.lower(), name.lower()) for name in grant.tables)


def loosest(grants: Iterable[Grant], table: str) -> Release | None:
    """The widest release that any of one service's ``grants`` gives on ``table``."""
    order: tuple[Release, ...] = ("rows", "sdc_local", "sdc_merged", "dp")
    given = {grant.release for grant in grants if covers(grant, table)}
    return next((release for release in order if release in given), None)


def judge_tables(grants: Sequence[Grant], tables: Iterable[str]) -> tuple[Release, bool] | None:
    """What one service's ``grants`` in force allow of a request that names all these tables.

    The release, and whether its result is to be reviewed; None if a table is not covered.
    """
    found: list[Release] = []
    review = False
    for table in tables:
        given = [grant for grant in grants if covers(grant, table)]
        released = loosest(given, table)
        if released is None:
            return None
        found.append(released)
        # A grant without review serves alone, if it gives as much as any.
        review = review or all(grant.review for grant in given if grant.release == released)
    return (strictest(*found), review) if found else None


def granted_release(
    services: Sequence[Sequence[Grant]],
    *,
    analyst: bytes,
    pod: str,
    table: str,
    purpose: str,
    project: str,
    now: int,
) -> Release | None:
    """The strictest of what each service grants; None if one grants nothing. No service: ``rows``."""
    found: list[Release] = ["rows"]
    for grants in services:
        live = [
            grant
            for grant in grants
            if in_force(grant, analyst=analyst, pod=pod, purpose=purpose, project=project, now=now)
        ]
        given = loosest(live, table)
        if given is None:
            return None
        found.append(given)
    return strictest(*found)
