"""A whole federation in this process: the same code and protocol, real sockets on the loopback.

For tests, trials and teaching. Each pod has its own data, gate, workers and keys; only the
processes are fewer. Without a policy everything is allowed, and that is said once.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from podsql.analyst.own_table import arrow_of
from podsql.analyst.sharing import borrow
from podsql.driver import Connection
from podsql.errors import error
from podsql.membership import (
    FederationSection,
    Membership,
    MembershipFile,
    MeSection,
    RelaySection,
    key_text,
)
from podsql.message import settle
from podsql.pod.config import (
    LimitsSection,
    LocalTablesSection,
    PodConfig,
    PodSection,
    PolicySection,
    TableSection,
    qualified,
)
from podsql.pod.daemon import Pod
from podsql.pod.datasets import Place
from podsql.relay.cards import make_card
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import Manifest, ManifestStore, sign_manifest
from podsql.relay.sockets.endpoint import Egress
from podsql.relay.sockets.router import Relay

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

    Tabular: TypeAlias = pa.Table | pandas.DataFrame | polars.DataFrame | str | Path

log = logging.getLogger("podsql.local")

LIFE_MS = 24 * 3600 * 1000


def local(
    pods: "Mapping[str, Mapping[str, Tabular]]",
    *,
    reference: "Mapping[str, Tabular] | None" = None,
    local_keys: Mapping[str, Sequence[str]] | None = None,
    privacy_unit: Mapping[str, str] | None = None,
    policy: str | Path | None = None,
    isolation: Literal["process", "thread"] = "process",
    analysts: Iterable[str] = ("ana",),
    local_tables: str | Path | None = None,
) -> "LocalFederation":
    """Start a relay and one pod per entry of ``pods``; ready when this returns.

    A table is an Arrow table, a pandas or polars frame, or a path (Parquet, CSV, JSON, DuckDB,
    Arrow). ``policy`` is a policy file, or a preset's name (``open``, ``standard``); absent:
    everything is allowed. ``isolation='thread'`` runs fragments in threads of this process, without
    the sandbox. ``local_tables``: a folder where each pod may keep predictions, in one of its own
    (``PREDICT … INTO LOCAL TABLE``). Use as a context manager, or ``close()`` it.
    """
    federation = LocalFederation(
        pods=pods,
        reference=reference or {},
        local_keys=local_keys or {},
        privacy_unit=privacy_unit or {},
        policy=policy,
        isolation=isolation,
        analysts=tuple(analysts),
        local_tables=local_tables,
    )
    federation.start()
    return federation


class LocalFederation:
    """A running local federation."""

    def __init__(
        self,
        *,
        pods: "Mapping[str, Mapping[str, Tabular]]",
        reference: "Mapping[str, Tabular]",
        local_keys: Mapping[str, Sequence[str]],
        privacy_unit: Mapping[str, str],
        policy: str | Path | None,
        isolation: Literal["process", "thread"],
        analysts: tuple[str, ...],
        local_tables: str | Path | None = None,
    ) -> None:
        if not pods:
            raise error("ARGUMENT", "a federation needs at least one pod")
        self._given = pods
        self._reference = reference
        self._local_keys = local_keys
        self._privacy_unit = privacy_unit
        self._policy = policy
        self._isolation: Literal["process", "thread"] = isolation
        self._analysts = analysts
        self._local_tables = None if local_tables is None else Path(local_tables).resolve()
        self._members: dict[str, Membership] = {}
        self._exit = ExitStack()
        self.pods: dict[str, Pod] = {}

    def start(self) -> None:
        """Start everything; on a failure nothing is left running."""
        if self._policy is None:
            log.warning("no policy: every analyst may read everything (fine for tests and trials)")
        settle()  # pods start in threads of their own below
        with ExitStack() as stack:
            home = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="podsql-local-", ignore_cleanup_errors=True)
                )
            )
            self._found(home, stack)
            for name in self._given:
                self.pods[name] = self._pod(name, home)
            with ThreadPoolExecutor(max(1, len(self.pods))) as starters:
                for pod in self.pods.values():
                    stack.callback(pod.stop)
                list(starters.map(Pod.start, self.pods.values()))
            self._exit = stack.pop_all()

    def _roles(self) -> dict[str, str]:
        """Everybody's name and role."""
        return {**dict.fromkeys(self._given, "pod"), **dict.fromkeys(self._analysts, "analyst")}

    def _found(self, home: Path, stack: ExitStack) -> None:
        """Keys, manifest and relay."""
        now = time.time_ns() // 1_000_000
        seed, relay_secret = generate_signing(), PeerKeys.generate().curve
        mark = fingerprint(signing_public(seed))
        roles = self._roles()
        keys = {name: PeerKeys.generate() for name in roles}
        manifest = Manifest(
            federation=mark,
            version=1,
            issued=now,
            expires=now + LIFE_MS,
            cards=tuple(
                make_card(keys[name], name=name, role=role, now=now) for name, role in roles.items()
            ),
            revoked=(),
            invites=(),
        )
        raw = sign_manifest(manifest, seed)
        relay = Relay(listen="tcp://127.0.0.1:*", secret=relay_secret)
        served = ManifestStore(home / "relay.bin", mark)
        served.accept(raw, now)
        relay.host(mark, served)
        relay.start()
        stack.callback(relay.stop)
        address = RelayAddress(endpoint=relay.endpoint, curve=relay.public)
        for name, role in roles.items():
            place = home / name
            place.mkdir()
            store = ManifestStore(place / "manifest.bin", mark)
            store.accept(raw, now)
            self._members[name] = Membership(
                path=place / "federation.toml",
                file=MembershipFile(
                    federation=FederationSection(name="local", fingerprint=mark),
                    relay=RelaySection(endpoint=address.endpoint, key=key_text(address.curve)),
                    me=MeSection(name=name, role=role),
                ),
                relay=address,
                keys=keys[name],
                store=store,
                egress=Egress(),
            )

    def _pod(self, name: str, home: Path) -> Pod:
        place = Place(home=home / name, state=home / name / "state")
        tables = {
            qualified(table): self._table(table, data, "federated", place.home)
            for table, data in self._given[name].items()
        }
        tables |= {
            qualified(table): self._table(table, data, "reference", place.home)
            for table, data in self._reference.items()
        }
        config = PodConfig(
            pod=PodSection(isolation=self._isolation),
            policy=self._policy_section(),
            tables=tables,
            limits=LimitsSection(workers=2, threads=self._threads()),
            local_tables=self._local_section(name),
        )
        return Pod(config, place, self._members[name])

    def _threads(self) -> int:
        """Of each statement at each pod: all pods are asked at once, and share one machine."""
        cores = os.cpu_count() or 1
        return min(LimitsSection().threads, max(1, cores // len(self._given)))

    def _policy_section(self) -> PolicySection:
        if self._policy is None:
            return PolicySection(preset="open")
        if isinstance(self._policy, str) and not Path(self._policy).suffix:
            return PolicySection(preset=self._policy)
        return PolicySection(file=str(Path(self._policy).resolve()))

    def _local_section(self, pod: str) -> LocalTablesSection | None:
        if self._local_tables is None:
            return None
        return LocalTablesSection(path=str(self._local_tables / pod))

    def _table(
        self, table: str, data: "Tabular", kind: Literal["federated", "reference"], place: Path
    ) -> TableSection:
        short = table.rpartition(".")[2]
        keys = self._local_keys.get(table, self._local_keys.get(short, ()))
        unit = self._privacy_unit.get(table, self._privacy_unit.get(short))
        return TableSection(
            path=str(_path_of(data, place / f"{qualified(table)}.arrow")),
            kind=kind,
            local_keys=tuple(keys) if kind == "federated" else (),
            privacy_unit=unit if kind == "federated" else None,
        )

    def connect(
        self,
        analyst: str | None = None,
        *,
        project: str = "",
        purpose: str = "",
        timeout: float = 60.0,
    ) -> Connection:
        """A new connection as ``analyst`` (default: the first)."""
        return Connection(
            borrow(self.membership(analyst)), project=project, purpose=purpose, timeout=timeout
        )

    def membership(self, analyst: str | None = None) -> Membership:
        """What ``podsql.connect`` and ``podsql.aio.connect`` take for this federation."""
        membership = self._members.get(analyst or self._analysts[0])
        if membership is None or membership.role != "analyst":
            raise error("ARGUMENT", f"no analyst {analyst!r} in this federation")
        return membership

    def close(self) -> None:
        """Stop pods and relay; idempotent."""
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _path_of(data: "Tabular", place: Path) -> Path:
    """The path of a table: as given, or where its frame was written as Arrow."""
    if isinstance(data, str | Path):
        return Path(data).resolve()
    import pyarrow as pa

    with (
        pa.OSFile(str(place), "wb") as file,
        pa.ipc.new_file(file, (t := arrow_of(data)).schema) as out,
    ):
        out.write_table(t)
    return place
