"""``podsql pod check``: configuration, policy and data, validated without the network."""

import tempfile
from pathlib import Path

from podsql.errors import Error
from podsql.findings import Finding
from podsql.membership import load_membership
from podsql.pod.config import load_pod_config
from podsql.pod.datasets import Place, freeze, local_tables_of, pod_tables, read_policy
from podsql.policy.gate import Gate


def check_pod(config_path: Path) -> list[Finding]:
    """Everything that would stop ``podsql pod serve``, and what a custodian should know."""
    try:
        config = load_pod_config(config_path)
    except Error as fault:
        return [_failed("configuration", fault)]
    place = Place.of(config, config_path)
    findings = [
        Finding(
            check="configuration",
            state="ok",
            text=f"{len(config.tables)} tables, {len(config.views)} views",
        )
    ]
    name = "pod"
    try:
        membership = load_membership(place.home / config.pod.federation)
        name = membership.name
        findings.append(
            Finding(check="membership", state="ok", text=f"{name!r} ({membership.role})")
        )
    except Error as fault:
        findings.append(_failed("membership", fault))
    try:
        policy = read_policy(config, place)
        findings.append(
            Finding(check="policy", state="ok", text=f"{policy.name!r}, every clause is enforced")
        )
    except Error as fault:
        return [*findings, _failed("policy", fault)]
    try:
        local_tables_of(config, place)
    except Error as fault:
        findings.append(_failed("local tables", fault))
    with tempfile.TemporaryDirectory(prefix="podsql-check-") as folder:
        try:
            snapshot = freeze(config, place, Path(folder))
        except Error as fault:
            return [*findings, _failed("data", fault)]
        for table, rows in sorted(snapshot.rows.items()):
            findings.append(Finding(check="data", state="ok", text=f"{table}: {rows} rows"))
        for note in snapshot.notes:
            findings.append(
                Finding(
                    check="data", state="warning", text=f"{note.table}: {note.text}", next=note.hint
                )
            )
        tables = pod_tables(config, snapshot)
        gate = Gate(pod=name, tables=tables, policy=policy, data_version=snapshot.version)
        for table in sorted(set(tables) - set(gate.table_names)):
            findings.append(
                Finding(
                    check="policy",
                    state="warning",
                    text=f"{table}: the policy names no column of it",
                    next="nobody can use it; list it under [tables] of the policy",
                )
            )
    return findings


def _failed(check: str, fault: Error) -> Finding:
    return Finding(
        check=check, state="failed", text=f"{fault.code}: {fault.message}", next=fault.hint
    )
