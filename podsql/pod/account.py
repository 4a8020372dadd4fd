"""What a pod's own files say of it, for ``podsql.governance``: no network, no data, no secret.

Reads pod.toml, policy.toml, governance.toml, federation.toml and its manifest, the audit log and the
ledger; of keys, source files and opt-out lists only what can be seen from outside (dates, counts).
"""

import json
import time
from pathlib import Path
from typing import Final

import msgspec

from podsql.engine.probing import probe_sandbox
from podsql.errors import Error
from podsql.governance.declared import NAME, load_declared
from podsql.governance.facts import (
    Budget,
    Facts,
    Key,
    Log,
    Member,
    Network,
    OptOutList,
    Payment,
    Table,
)
from podsql.governance.installed import Installation, look
from podsql.membership import (
    FILE_BYTES,
    MembershipFile,
    egress_of,
    load_membership,
    read_membership_file,
)
from podsql.pod.config import PodConfig, TableSection, load_pod_config, qualified
from podsql.pod.datasets import Place, read_policy
from podsql.pod.opting_out import read_list
from podsql.pod.past_policies import past_policies
from podsql.pod.releasing import Released
from podsql.policy.audit import FILE, Entry, check, lines
from podsql.policy.document import Policy, policy_hash
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.ledger.store import Charge, Ledger
from podsql.policy.service.database import Database
from podsql.policy.service.granting import Granted, all_grants
from podsql.relay.manifest import Manifest, ManifestStore

_MS: Final = 1_000_000


def account_of(config_path: Path, *, now: int | None = None, grants: Path | None = None) -> Facts:
    """Everything the artefacts are made of; ``grants`` is a policy service's file, if at hand.

    A log that does not verify is told, not refused: that is when its artefacts are needed. CONFIG,
    POLICY_FILE and LEDGER errors of the other files are raised.
    """
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    policy = read_policy(config, place)
    joined = _membership(config, place)
    log = _log(place / FILE)
    charges, budgets, payments = _ledger(config, place, policy)
    return Facts(
        now=time.time_ns() // _MS if now is None else now,
        pod=joined[0].me.name if joined else place.home.name,
        policy=policy,
        policy_hash=policy_hash(policy),
        services=len(config.policy.services),
        tables=_tables(config, place),
        members=_members(joined[1]) if joined else (),
        network=_network(joined, place) if joined else None,
        keys=_keys(config, place, joined),
        declared=load_declared(place.home / NAME),
        log=log,
        payments=payments,
        policies=past_policies(place),
        budgets=budgets,
        grants=_grants(grants) if grants else (),
        isolation=config.pod.isolation,
        witness_apart=_apart(place, place.witness(config)) if charges else None,
    )


Joined = tuple[MembershipFile, Manifest | None] | None


def _membership(config: PodConfig, place: Place) -> Joined:
    path = place.home / config.pod.federation
    if not path.exists():
        return None
    file = read_membership_file(path)
    home = path.resolve().parent
    store = ManifestStore(home / file.me.manifest, file.federation.fingerprint)
    return file, store.current


def _members(manifest: Manifest | None) -> tuple[Member, ...]:
    if manifest is None:
        return ()
    gone = frozenset(manifest.revoked)
    return tuple(
        Member(
            name=card.name,
            role=card.role,
            fingerprint=card.fingerprint,
            created=card.created,
            revoked=card.identity in gone,
        )
        for card in manifest.all_cards
    )


def _network(joined: tuple[MembershipFile, Manifest | None], place: Place) -> Network:
    file, manifest = joined
    egress = egress_of(file.relay, place.home, {})
    card = manifest.by_name(file.me.name) if manifest else None
    return Network(
        federation=file.federation.name,
        federation_fingerprint=file.federation.fingerprint,
        relay=file.relay.endpoint,
        way="a SOCKS5 proxy" if egress.socks else "an HTTP proxy" if egress.proxy else "direct",
        private_ca=file.relay.ca is not None,
        manifest_version=manifest.version if manifest else None,
        issued=manifest.issued if manifest else None,
        expires=manifest.expires if manifest else None,
        fingerprint=card.fingerprint if card else None,
    )


def _keys(config: PodConfig, place: Place, joined: Joined) -> tuple[Key, ...]:
    found = []
    if joined is not None:
        file, manifest = joined
        path = (place.home / config.pod.federation).resolve().parent / file.me.keys
        card = manifest.by_name(file.me.name) if manifest else None
        found.append(
            Key(
                name=path.name,
                use="identity (signatures), sessions, mailbox",
                made=card.created if card else _changed(path),
                sealed=_sealed(path),
            )
        )
        found.append(
            Key(
                name="relay's key, pinned in federation.toml",
                use="the relay proves it",
                made=None,
                sealed="public",
            )
        )
    secret = place / "secret"
    if secret.exists():
        found.append(
            Key(
                name="state/secret",
                use="names of units in the ledger, order of rows",
                made=_changed(secret),
                sealed="plain, for its owner only"
                if secret.stat().st_mode & 0o077 == 0
                else "OPEN TO OTHERS",
            )
        )
    return tuple(found)


def _sealed(path: Path) -> str:
    """How a key file rests; its secret is neither opened nor kept."""
    try:
        with path.open("rb") as file:
            salted = bool(json.loads(file.read(FILE_BYTES)).get("salt"))
        private = path.stat().st_mode & 0o077 == 0
    except (OSError, ValueError, AttributeError):
        return "cannot be read"
    how = "sealed under a passphrase" if salted else "plain"
    return f"{how}, for its owner only" if private else f"{how}, OPEN TO OTHERS"


def _tables(config: PodConfig, place: Place) -> tuple[Table, ...]:
    found = [_table(qualified(name), section, place) for name, section in config.tables.items()]
    found += [
        Table(
            name=qualified(name),
            kind=view.kind,
            source="view",
            mode="view",
            privacy_unit=view.privacy_unit,
            local_keys=view.local_keys,
            types={},
            refreshed=None,
            opt_out=None,
        )
        for name, view in config.views.items()
    ]
    return tuple(found)


def _table(name: str, section: TableSection, place: Place) -> Table:
    path = place.home / section.path
    return Table(
        name=name,
        kind=section.kind,
        source=path.name,
        mode=section.mode,
        privacy_unit=section.privacy_unit,
        local_keys=section.local_keys,
        types=section.columns,
        refreshed=_changed(path),
        opt_out=None if section.opt_out is None else _opt_out(place.home / section.opt_out),
    )


def _opt_out(path: Path) -> OptOutList:
    try:
        units: int | None = len(set(read_list(path)))
    except Error:
        units = None
    return OptOutList(file=path.name, units=units, changed=_changed(path))


def _log(path: Path) -> Log:
    if not path.exists():
        return Log(entries=())
    try:
        chain = check(path)
    except Error as fault:
        return Log(entries=_readable(path), fault=fault.message)
    last = chain.checkpoint
    return Log(
        entries=tuple(line.entry for line in lines(path)),
        removed=chain.removed,
        pruned_before=last.before if last else None,
        head=chain.head,
    )


def _readable(path: Path) -> tuple[Entry, ...]:
    """The lines of a damaged log up to the first that is none."""
    found = []
    try:
        for line in lines(path):
            found.append(line.entry)
    except Error:
        pass  # the artefacts say that the log is not whole
    return tuple(found)


def _ledger(
    config: PodConfig, place: Place, policy: Policy
) -> tuple[list[Charge], tuple[Budget, ...], dict[str, Payment]]:
    path = place / "ledger.sqlite"
    if not path.exists():
        return [], (), {}
    ledger = Ledger(path, witness=place.witness(config))
    try:
        charges, spent = ledger.charges(), ledger.scopes()
        dp = policy.dp
        delta = dp.delta if dp else 1e-6
        payments = {}
        for charge in charges:
            if charge.kind == "charge":
                body = ledger.answer(charge.fingerprint)
                kept = msgspec.msgpack.decode(body, type=Released) if body else None
                payments[charge.request.hex()] = Payment(
                    request_id=charge.request.hex(),
                    epsilon=epsilon_of(charge.cost, delta),
                    delta=delta,
                    noise=kept.noise if kept else (),
                )
        budgets = tuple(
            Budget(
                scope=scope,
                epsilon=epsilon_of(cost, delta),
                cap=None
                if dp is None
                else dp.epsilon_total
                if "/everybody" in scope
                else dp.epsilon_budget,
                releases=sum(c.kind == "charge" and scope in c.scopes for c in charges),
                resets=tuple(
                    (c.time, c.note) for c in charges if c.kind == "reset" and scope in c.scopes
                ),
            )
            for scope, cost in spent.items()
        )
        return charges, budgets, payments
    finally:
        ledger.close()


def _grants(path: Path) -> tuple[Granted, ...]:
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    store = Database(path)
    try:
        return all_grants(store)
    finally:
        store.close()


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns // _MS
    except OSError:
        return None


def _apart(place: Place, witness: Path) -> bool | None:
    try:
        return witness.stat().st_dev != place.state.stat().st_dev
    except OSError:
        return None


def pod_name(config_path: Path) -> str:
    """The pod's name in its federation; its directory's before it has joined."""
    config = load_pod_config(config_path)
    place = Place.of(config, config_path)
    joined = _membership(config, place)
    return joined[0].me.name if joined else place.home.name


def pod_seed(config_path: Path, passphrase: str | None = None) -> bytes:
    """The pod's identity key, to sign with."""
    config = load_pod_config(config_path)
    path = Place.of(config, config_path).home / config.pod.federation
    return load_membership(path, passphrase=passphrase).keys.identity


def installation() -> Installation:
    """This installation, with its sandbox tried out."""
    report = probe_sandbox()
    return msgspec.structs.replace(
        look(),
        sandbox_tried=report is not None,
        sandbox_held=report.held if report else (),
        sandbox_missing=report.missing
        if report
        else (("all", "a process could not restrict itself"),),
    )
