"""From ``pod.toml`` to what the gate and the engine need: a frozen snapshot and its tables."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from podsql.engine.snapshot import Snapshot, TableSource, ViewSource, build_snapshot
from podsql.errors import error
from podsql.pod.config import PodConfig, TableSection, ViewSection, qualified
from podsql.pod.holding import Holding
from podsql.pod.holds import Holds
from podsql.pod.local_tables import LocalTables
from podsql.pod.opting_out import Watch, read_list
from podsql.pod.origins import origins
from podsql.pod.releasing import load_secret, salt
from podsql.policy.document import Policy, load_policy, load_preset
from podsql.policy.enforcement import require_enforceable
from podsql.policy.gate import Gate
from podsql.policy.noise.backend import choose_backend
from podsql.policy.rights import PodTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pod's files lie: relative paths of ``pod.toml`` start at ``home``."""

    home: Path
    state: Path

    @classmethod
    def of(cls, config: PodConfig, config_path: Path) -> "Place":
        """The places of the pod configured at ``config_path``."""
        home = config_path.resolve().parent
        return cls(home=home, state=home / config.pod.state)

    def witness(self, config: PodConfig) -> Path:
        """Where the ledger's witness lies: outside the state, so that one backup holds not both."""
        return self.home / (config.policy.witness or "ledger.witness")

    def __truediv__(self, name: str) -> Path:
        return self.state / name


def read_policy(config: PodConfig, place: Place) -> Policy:
    """The pod's policy document; refuses one with clauses this version does not enforce."""
    if config.policy.file is not None:
        policy = load_policy(place.home / config.policy.file)
    else:
        policy = load_preset(config.policy.preset or "standard")
    require_enforceable(policy, services=config.policy.services)
    if policy.dp is not None:
        choose_backend(policy.dp.noise)  # before a statement has paid for its noise
    return policy


def freeze(config: PodConfig, place: Place, directory: Path) -> Snapshot:
    """Import every table and view of ``config`` into a snapshot below ``directory``."""
    tables = [
        TableSource(
            name=qualified(name),
            path=str((place.home / section.path).resolve()),
            format=section.format,
            source_table=section.source_table,
            kind=section.kind,
            mode=section.mode,
            columns=section.columns,
            null_values=section.null_values,
            privacy_unit=section.privacy_unit,
            local_keys=section.local_keys,
            opt_out=read_list(place.home / section.opt_out) if section.opt_out else (),
        )
        for name, section in config.tables.items()
    ]
    views = [
        ViewSource(
            name=qualified(name),
            sql=section.sql,
            kind=section.kind,
            privacy_unit=section.privacy_unit,
            local_keys=section.local_keys,
        )
        for name, section in config.views.items()
    ]
    return build_snapshot(
        tables,
        views,
        directory,
        memory_mb=config.limits.memory_mb,
        threads=config.limits.threads,
        isolated=config.pod.isolation == "process",
    )


def hold(config: PodConfig, place: Place, pod: str) -> Holding:
    """Data and policy as they are now, ready to serve."""
    policy = read_policy(config, place)
    lists = [place.home / t.opt_out for t in config.tables.values() if t.opt_out]
    opted_out = Watch.over(lists)
    snapshot = freeze(config, place, place / "snapshots")
    gate = Gate(
        pod=pod,
        tables=pod_tables(config, snapshot),
        policy=policy,
        data_version=snapshot.version,
        salt=salt(load_secret(place / "secret")),
        keeps=config.local_tables is not None,
    )
    return Holding(
        gate=gate,
        database=snapshot.path,
        datasets=snapshot.datasets,
        data_version=snapshot.version,
        opted_out=opted_out,
    )


def holds_of(config: PodConfig, place: Place) -> Holds:
    """The results that wait at the pod for a review."""
    return Holds(
        place / "spool" / "held",
        load_secret(place / "secret"),
        limit_bytes=config.limits.spool_mb << 20,
        days=config.policy.hold_days,
    )


def local_tables_of(config: PodConfig, place: Place) -> LocalTables | None:
    """The predictions that stay at the pod; CONFIG if they would lie where its data or its state is."""
    section = config.local_tables
    if section is None:
        return None
    folder = (place.home / section.path).resolve()
    for path in (place.state, *(place.home / one.path for one in config.tables.values())):
        data = _before_patterns(path.resolve())
        if folder == data or folder in data.parents or data in folder.parents:
            raise error(
                "CONFIG",
                "local_tables.path holds other files of the pod, or lies within them",
                hint="name a folder of its own",
            )
    return LocalTables(
        folder, most_rows=section.rows, most_tables=section.tables, days=section.days
    )


def _before_patterns(path: Path) -> Path:
    """The folder below which a pattern of names is looked for; ``path`` itself if it has none."""
    for place, part in enumerate(path.parts):
        if set(part) & set("*?["):
            return Path(*path.parts[:place])
    return path


def drop_old_snapshots(place: Place, keep: Path) -> None:
    """Remove snapshots but ``keep``, and what a kill left half built; before anything is served."""
    for path in (place / "snapshots").iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != keep:
            path.unlink(missing_ok=True)


def pod_tables(config: PodConfig, snapshot: Snapshot) -> dict[str, PodTable]:
    """The gate's view of the snapshot's tables."""
    served_in_place = {
        qualified(name) for name, section in config.tables.items() if section.mode == "in_place"
    }
    found = {}
    files = origins(config)
    sections: dict[str, TableSection | ViewSection] = {**config.tables, **config.views}
    for name, section in sections.items():
        full = qualified(name)
        found[full] = PodTable(
            name=full,
            kind=section.kind,
            columns=snapshot.schemas[full],
            privacy_unit=section.privacy_unit,
            local_keys=section.local_keys,
            content_hash=snapshot.hashes[full],
            rows=snapshot.rows[full],
            numbered=full not in served_in_place,
            origins=files[full],
        )
    return found
