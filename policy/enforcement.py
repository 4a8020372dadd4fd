"""Which clauses of a policy document this version enforces.

Rule to keep: a clause leaves this list only together with the code and the tests that enforce it.
"""

from collections.abc import Collection, Iterator
from typing import Final

from podsql.errors import error
from podsql.planner.masking import LEAST_UNITS
from podsql.policy.document import Policy

ENFORCED: Final = ("select", "train", "networks", "predict", "intersect")
"""Uses that this version knows how to keep to."""


def unenforced(policy: Policy) -> tuple[str, ...]:
    """Names of the clauses that the document sets and this version would ignore."""
    output = policy.output
    found = {
        "orgs": bool(policy.orgs),
        "output.quantile 'exact'": output.quantile == "exact",
        "output.round_base beside quantile 'binned'": output.quantile == "binned"
        and output.round_base > 1,
    }
    names = [name for name, is_set in found.items() if is_set]
    names += [f"allow {use!r}" for use in policy.allow if use not in ENFORCED]
    names += _beside_totals(policy)
    for table, clause in policy.tables.items():
        names += [
            f"tables.{table}.allow {use!r}" for use in clause.allow or () if use not in ENFORCED
        ]
        for column, rules in clause.columns.items():
            at = f"tables.{table}.columns.{column}"
            set_here = {
                "bin in words": isinstance(rules.bin, str),
            }
            names += [f"{at}.{name}" for name, is_set in set_here.items() if is_set]
    return tuple(names)


def _beside_totals(policy: Policy) -> Iterator[str]:
    """What goes not with ``sdc_merged``: figures that leave otherwise are not compared with totals."""
    kept = {
        name: clause.release or policy.release
        for name, clause in policy.tables.items()
        if not clause.public
    }
    if "sdc_merged" not in kept.values() and policy.release != "sdc_merged":
        return
    output = policy.output
    found = {
        **{
            f"tables.{name}.release {release!r}": release != "sdc_merged"
            for name, release in kept.items()
        },
        "output.round_base": output.round_base > 1,
        f"output.min_units {output.min_units}": output.min_units < LEAST_UNITS,
    }
    for name, is_set in found.items():
        if is_set:
            yield f"{name} beside release 'sdc_merged'"


def require_enforceable(policy: Policy, *, services: Collection[str] = ()) -> None:
    """POLICY_FILE if the document asks for a protection that the pod will not give.

    ``services`` are the fingerprints of the policy services the pod will ask.
    """
    missing = [service for service in policy.services if service not in services]
    if missing:
        raise error(
            "POLICY_FILE",
            f"policy {policy.name!r} names {len(missing)} policy service(s) the pod does not ask",
            hint="list the same fingerprints as policy.services in pod.toml",
        )
    names = unenforced(policy)
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise error(
            "POLICY_FILE",
            f"policy {policy.name!r}: clause {names[0]} is not enforced by this version{more}",
            hint="remove the clause, or use the preset 'standard'",
        )
