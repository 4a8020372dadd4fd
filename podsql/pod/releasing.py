"""The last step before a result leaves, where it needs the ledger: overlaps, caps, noise.

Runs on a gatekeeper's thread, over the whole (aggregated) result. Rule to keep: what is released is
on the ledger before it leaves, and what the ledger already knows is released again, byte for byte.
"""

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from podsql.engine.training.torch_there import require_torch
from podsql.errors import error
from podsql.messages import RequestHead
from podsql.planner.fragment import Field
from podsql.planner.key_lists import group_count
from podsql.pod.cohorts import Claim, Cohort, Cohorts, scope_of
from podsql.pod.joining import join_bins
from podsql.pod.series import keep_round, round_left
from podsql.pod.shares import Shares, read_shares, together, views
from podsql.pod.spending import Spent, spent_of
from podsql.pod.total_groups import TotalGroups, groups_in
from podsql.policy.binned import BinOrder
from podsql.policy.document import Dp, Policy
from podsql.policy.guard import GUARD
from podsql.policy.ledger.cost import Cost, cap_of, epsilon_of
from podsql.policy.ledger.overlap import Overlaps
from podsql.policy.ledger.past import Past
from podsql.policy.ledger.store import Ledger
from podsql.policy.noise.backend import NoiseBackend, choose_backend
from podsql.policy.noised import NoiseOrder
from podsql.policy.person import Person
from podsql.policy.verdict import Verdict

SECRET_BYTES: Final = 32
DESIGNS: Final = 4096
"""Designs of models remembered; one that is forgotten is judged again."""


class Released(msgspec.Struct, frozen=True, array_like=True):
    """What leaves: an Arrow IPC stream, its rows, withheld groups, noise per aggregate."""

    arrow: bytes
    rows: int
    withheld: int
    noise: tuple[float, ...] = ()
    """Standard deviation of each aggregate's noise, in its own units."""
    vector: bytes = b""
    """Of a secure sum: what leaves instead, under masks, by a message of that sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """For whom something is released: the scopes of budgets and caps are made of it."""

    person: Person
    purpose: str
    project: str

    @classmethod
    def of(cls, person: Person, head: RequestHead) -> "Asker":
        """The asker of a signed request."""
        return cls(person=person, purpose=head.purpose, project=head.project)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a statement would cost, and what is left of what it draws on. None: no such rule."""

    epsilon: float | None
    epsilon_left: float | None
    fits: int | None
    statements_left: int | None
    figures_left: int | None


class Releasing:
    """The ledger's side of one pod. ``secret``: the pod's own, for names of units and row order."""

    def __init__(self, ledger: Ledger, secret: bytes) -> None:
        self._ledger = ledger
        self._spent: tuple[object, list[Spent]] | None = None
        self._overlaps = Overlaps(ledger, _derived(secret, "overlap"))
        self._cohorts = Cohorts(ledger)
        self._past = Past(ledger, _derived(secret, "past"))
        self._designs: dict[tuple[bytes, str, str, str], None] = {}

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def now(self, now: int) -> int:
        """``now``, but never before a time the pod has seen (ms since the epoch)."""
        return self._ledger.moment(now)

    def spent(self, policy: Policy) -> list[Spent]:
        """Every budget that was ever drawn on; read anew when the chain has grown."""
        key = (self._ledger.head(), policy)
        if self._spent is None or self._spent[0] != key:
            self._spent = (key, spent_of(self._ledger, policy))
        return self._spent[1]

    # -- before the statement runs -----------------------------------------------------------------

    def admit(self, policy: Policy, asker: Asker, now: int, candidates: int = 0) -> None:
        """Count one statement of the day, and the keys that an analyst brings; QUOTA if there were
        enough."""
        per_day = policy.intersect.candidates_per_day
        scope = f"candidates/{_project(policy, asker)}"
        if candidates and not self._ledger.take(scope, candidates, now=now, per_day=per_day):
            raise error("QUOTA", "the custodian lets this project bring no more keys today")
        most = policy.limits.queries_per_day
        if most is None:
            return
        if not self._ledger.take(_statements(policy, asker), 1, now=now, per_day=most):
            raise error("QUOTA", "the custodian allows no more statements today")

    def charge(
        self,
        verdict: Verdict,
        policy: Policy,
        asker: Asker,
        data_version: str,
        request_id: bytes,
        now: int,
    ) -> Released | None:
        """Take the price of a noisy release; the earlier release if it was paid for before.

        A round of a model pays for its whole series."""
        assert verdict.noise is not None
        assert policy.dp is not None
        mark = fingerprint(verdict, asker, data_version, request_id)
        drawn = budgets(policy, policy.dp, asker, self.now(now))
        scopes = {scope: cap_of(epsilon, policy.dp.delta) for scope, epsilon in drawn.items()}
        series = verdict.series
        done = self._ledger.charge(
            mark,
            request_id,
            scopes,
            verdict.noise.cost,
            now=now,
            note=asker.person.name,
            answer=None if series is None else _paid(verdict.noise),
        )
        if done == "charged":
            return None
        body = (
            self._ledger.answer(mark) if series is None else round_left(self._ledger, mark, series)
        )
        if body is None:  # of a series that was paid for, in a round that is still to come
            assert series is not None
            return None
        return msgspec.msgpack.decode(body, type=Released)

    def prospect(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str, now: int
    ) -> Prospect:
        """What the statement would cost now, and what is left; nothing is taken."""
        price = left = fits = statements = figures = None
        order = verdict.noise
        if order is not None and policy.dp is not None:
            delta = policy.dp.delta
            paid = self._ledger.answer(fingerprint(verdict, asker, data_version, b""))
            price = 0.0 if paid and not verdict.fresh else epsilon_of(order.cost, delta)
            drawn = [
                (epsilon, self._ledger.spent(scope))
                for scope, epsilon in budgets(policy, policy.dp, asker, self.now(now)).items()
            ]
            fits = min(cap_of(epsilon, delta).fits(spent, order.cost) for epsilon, spent in drawn)
            left = min(max(0.0, epsilon - epsilon_of(spent, delta)) for epsilon, spent in drawn)
        if policy.limits.queries_per_day is not None:
            today, _ = self._ledger.used(_statements(policy, asker), now)
            statements = max(0, policy.limits.queries_per_day - today)
        if verdict.guard and policy.output.caps is not None:
            today, ever = self._ledger.used(_figures(policy, asker), now)
            caps = policy.output.caps
            figures = max(0, min(caps.per_day - today, caps.total - ever))
        return Prospect(
            epsilon=price,
            epsilon_left=left,
            fits=fits,
            statements_left=statements,
            figures_left=figures,
        )

    def drawn(self, policy: Policy, asker: Asker, now: int) -> list[tuple[str, float, Cost]]:
        """Scope, epsilon and what was spent of every budget that ``asker`` draws on."""
        if policy.dp is None:
            return []
        found = budgets(policy, policy.dp, asker, self.now(now))
        return [(scope, epsilon, self._ledger.spent(scope)) for scope, epsilon in found.items()]

    def counted(self, policy: Policy, asker: Asker, now: int) -> dict[str, tuple[int, int]]:
        """How many statements, figures and own keys of ``asker`` were counted today, and ever."""
        scopes = {
            "statements": _statements(policy, asker),
            "figures": _figures(policy, asker),
            "keys": f"candidates/{_project(policy, asker)}",
        }
        return {what: self._ledger.used(scope, now) for what, scope in scopes.items()}

    # -- rounds of a model -------------------------------------------------------------------------

    def lightened(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str
    ) -> Verdict:
        """A round whose design left before, over the same data to the same project: its figures are
        about the same rows, so only its weights are judged again."""
        model = verdict.model
        if model is None or self._design(verdict, policy, asker, data_version) not in self._designs:
            return verdict
        counts = verdict.guard and policy.output.caps is not None
        return replace(verdict, sql=verdict.again, cells=0, needs_ledger=counts)

    def design_left(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str
    ) -> None:
        """A round of a model left: others of its design may follow."""
        if verdict.model is not None:
            self._designs[self._design(verdict, policy, asker, data_version)] = None
            while len(self._designs) > DESIGNS:
                del self._designs[next(iter(self._designs))]

    def _design(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str
    ) -> tuple[bytes, str, str, str]:
        assert verdict.model is not None
        return verdict.model.mark, verdict.policy_hash, data_version, _project(policy, asker)

    def count_round(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str, now: int
    ) -> None:
        """One more round of a network over these rows and columns; QUOTA if there were enough.

        Of anything else nothing is counted."""
        if verdict.network is None:
            return
        require_torch()
        mark, _, version, project = self._design(verdict, policy, asker, data_version)
        scope = f"networks/{project}/{version}/{mark.hex()}"
        if not self._ledger.take(scope, 1, now=now, total=verdict.network.rounds):
            raise error(
                "QUOTA",
                "the custodian allows this project no more rounds of networks over these rows",
                hint="fewer rounds with more epochs each; or ask the custodian",
            )

    # -- secure sums -------------------------------------------------------------------------------

    def claim(
        self, verdict: Verdict, policy: Policy, asker: Asker, data_version: str, cohort: Cohort
    ) -> Claim:
        """Of a table, or another of the same file, whatever it is joined to, one project has one sum over
        one set of pods until its data change (on totals: for ever): else the sum with a pod less the one
        without it would be that pod's."""
        whose = _project(policy, asker)
        # What left on totals is compared with new data too: so there the pods are the same for ever.
        merged = verdict.merged is not None
        version = "" if merged else data_version
        tables = verdict.protected if verdict.guard else ()
        scopes = [scope_of(whose, version, table) for table in tables]
        return Claim(cohorts=self._cohorts, scopes=scopes, cohort=cohort, at_once=merged)

    def groups(
        self, arrow: bytes, verdict: Verdict, policy: Policy, asker: Asker, _: str
    ) -> TotalGroups | None:
        """A result that is judged on the total of all pods, None for any other. DENIED if other figures
        left before, which are not compared with totals; whatever version the data had then."""
        if verdict.merged is None:
            return None
        scope = _project(policy, asker)
        if self._overlaps.known(scope):
            raise error(
                "DENIED",
                "figures left to this project before that were judged by the pods alone",
                hint="its custodian gives the policy another name, and its analysts another project",
            )
        return groups_in(verdict, arrow, self._past, scope)

    # -- after it ran ------------------------------------------------------------------------------

    def noise(
        self,
        arrow: bytes,
        verdict: Verdict,
        policy: Policy,
        asker: Asker,
        data_version: str,
        request_id: bytes,
    ) -> Released:
        """Add the noise that was paid for, and keep what is released."""
        assert verdict.noise is not None
        assert policy.dp is not None
        table = pa.ipc.open_stream(arrow).read_all()
        found = add_noise(table, verdict.noise, verdict.fields, choose_backend(policy.dp.noise))
        mark = fingerprint(verdict, asker, data_version, request_id)
        body = msgspec.msgpack.encode(found)
        if verdict.series is not None:
            left = keep_round(self._ledger, mark, verdict.series, body)
            return msgspec.msgpack.decode(left, type=Released)
        self._ledger.keep_answer(mark, body)
        return found

    def guard(
        self, arrow: bytes, verdict: Verdict, policy: Policy, asker: Asker, now: int
    ) -> Released:
        """Drop groups that the guard, an overlap or a cap withholds, and the hidden columns."""
        table = pa.ipc.open_stream(arrow).read_all()
        figures = verdict.figures or (1 if verdict.bins else len(verdict.fields) - verdict.keys)
        groups = 1 if verdict.bins else max(1, table.num_rows)
        if verdict.sums is not None:
            # All that it answers for: who sees the caps would else learn how many groups this pod has.
            groups = group_count(verdict.sums.lists)
        if verdict.guard and not self._count(policy, asker, groups * max(1, figures), now):
            raise error("QUOTA", "the custodian releases no more figures to this project")
        if verdict.merged is not None:
            return Released(arrow=arrow, rows=table.num_rows, withheld=0)
        if verdict.guard and self._past.names(_project(policy, asker)):
            raise error("DENIED", "figures left to this project before on the total of all pods")
        if verdict.bins is not None:
            return self._bins(table, verdict.bins, verdict, policy, asker)
        shown = [value is True for value in table[GUARD].to_pylist()]
        if verdict.cells:
            shown = self._apart(table, verdict, policy, asker, shown)
        kept = table.filter(pa.array(shown, pa.bool_())).select(range(len(verdict.fields)))
        return Released(
            arrow=as_ipc(kept), rows=kept.num_rows, withheld=table.num_rows - kept.num_rows
        )

    def count_withheld(self, policy: Policy, asker: Asker, now: int) -> None:
        """A figure that failed counts like one that was withheld."""
        self._count(policy, asker, 1, now)

    def _count(self, policy: Policy, asker: Asker, figures: int, now: int) -> bool:
        """Count ``figures`` against the caps; False (and nothing counted) if they are too many."""
        caps = policy.output.caps
        return caps is None or self._ledger.take(
            _figures(policy, asker), figures, now=now, per_day=caps.per_day, total=caps.total
        )

    def _bins(
        self, table: pa.Table, order: BinOrder, verdict: Verdict, policy: Policy, asker: Asker
    ) -> Released:
        joined, withheld = join_bins(
            table,
            order,
            verdict.fields,
            (lambda figures: all(self._admit(figures, policy, asker))) if order.named else None,
        )
        return Released(arrow=as_ipc(joined), rows=joined.num_rows, withheld=withheld)

    def _apart(
        self, table: pa.Table, verdict: Verdict, policy: Policy, asker: Asker, shown: list[bool]
    ) -> list[bool]:
        """Which groups differ enough from everything that left before, and their sums too."""
        columns = [read_shares(table[f"_u{place}"]) for place in range(verdict.cells)]
        groups = [list(group) for group in zip(*columns, strict=True)]
        asked = [
            shares for group, one in zip(groups, shown, strict=True) if one for shares in group
        ]
        admitted, step = self._admit(asked, policy, asker), verdict.cells
        fine = iter([all(admitted[n : n + step]) for n in range(0, len(admitted), step)])
        found = [one and next(fine) for one in shown]
        if not verdict.keys:
            return found
        # The groups of a level together are a figure too: a total less their sum must not tell.
        levels = table[len(verdict.fields) - 1].to_pylist() if verdict.sets else [0] * len(found)
        left: dict[int, list[list[Shares]]] = {}
        for level, group, one in zip(levels, groups, found, strict=True):
            if one:
                left.setdefault(level, []).append(group)
        sums = [[together(shares) for shares in zip(*one, strict=True)] for one in left.values()]
        whole = all(all(self._admit(figures, policy, asker)) for figures in sums)
        return found if whole else [False] * len(found)

    def _admit(self, figures: Sequence[Shares], policy: Policy, asker: Asker) -> list[bool]:
        scope, least = _project(policy, asker), policy.output.overlap_guard
        return self._overlaps.admit(scope, [list(views(one)) for one in figures], least)


def load_secret(path: Path) -> bytes:
    """The pod's secret, made on first use (mode 0600)."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = os.urandom(SECRET_BYTES)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(found)
    if len(found) != SECRET_BYTES:
        raise error("CONFIG", f"{path.name!r} is not a secret of {SECRET_BYTES} bytes")
    return found


def salt(secret: bytes) -> str:
    """What the gate's SQL is salted with."""
    return _derived(secret, "salt").hex()[:32]


def fingerprint(verdict: Verdict, asker: Asker, data_version: str, request_id: bytes) -> bytes:
    """What makes two noisy releases the same one. A fresh one is the same as no other.

    Of a round of a model: what makes two series the same one."""
    order, series = verdict.noise, verdict.series
    assert order is not None
    what = (
        verdict.sql,
        repr((order.deviations, order.threshold, order.domain)),
        tuple((field.name, field.type) for field in verdict.fields),
    )
    parts = (
        *(what if series is None else (series.mark,)),
        asker.project,
        asker.purpose,
        data_version,
        verdict.policy_hash,
        request_id if verdict.fresh else b"",
    )
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32, person=b"ps-release").digest()


def budgets(policy: Policy, dp: Dp, asker: Asker, now: int) -> dict[str, float]:
    """Scopes a charge draws on, with the epsilon of each."""
    # A purpose or project that anybody may make up has no budget of its own.
    named = {
        "purpose": "*" if "*" in policy.purposes else asker.purpose,
        "analyst": asker.person.fingerprint,
        "project": "*" if "*" in policy.projects else asker.project,
    }
    period = _period(dp, now)
    scope = [policy.name, *(f"{part}={named[part]}" for part in sorted(dp.per)), *period]
    found = {"/".join(scope): dp.epsilon_budget}
    if dp.epsilon_total is not None:
        found["/".join([policy.name, "everybody", *period])] = dp.epsilon_total
    return found


def _paid(order: NoiseOrder) -> bytes:
    """What is kept of a series with its charge: no rows, and how much noise they have."""
    noise = order.errors[:1]
    return msgspec.msgpack.encode(Released(arrow=b"", rows=0, withheld=0, noise=noise))


def _statements(policy: Policy, asker: Asker) -> str:
    return f"queries/{policy.name}/{asker.person.fingerprint}"


def _figures(policy: Policy, asker: Asker) -> str:
    return f"cells/{_project(policy, asker)}"


def _project(policy: Policy, asker: Asker) -> str:
    """Whose answers are counted and compared together. A name that anybody may make up parts
    nothing: where the document lists no projects, it is all that one person asks."""
    named = asker.person.fingerprint if "*" in policy.projects else asker.project
    return f"{policy.name}/{named}"


def _period(dp: Dp, now: int) -> list[str]:
    day = datetime.fromtimestamp(now / 1000, UTC)
    if dp.period == "year":
        return [f"{day.year}"]
    return [f"{day.year}-{day.month:02}"] if dp.period == "month" else []


def add_noise(
    table: pa.Table, order: NoiseOrder, fields: Sequence[Field], backend: NoiseBackend
) -> Released:
    """Exact integers in, a releasable table out: every declared group, or those above the threshold."""
    groups = list(zip(*(table[place].to_pylist() for place in range(order.keys)), strict=True))
    if not order.keys:
        groups = [()]
    figures = [
        [int(value or 0) for value in table[order.keys + place].to_pylist()]
        for place in range(len(order.deviations))
    ]
    people = [int(value) for value in table["n"].to_pylist()]
    schema = table.schema
    if order.domain is not None and order.keys:
        groups, figures = _over_domain(groups, figures, order, schema)
    elif order.keys:
        noisy = backend.gaussian(people, order.units_deviation)
        shown = [value >= order.threshold for value in noisy]
        groups = [group for group, one in zip(groups, shown, strict=True) if one]
        figures = [[v for v, one in zip(col, shown, strict=True) if one] for col in figures]
    columns: list[Any] = [
        pa.array([group[place] for group in groups], schema.field(place).type)
        for place in range(order.keys)
    ]
    for place, values in enumerate(figures):
        noisy = backend.gaussian(values, order.deviations[place])
        if order.counts[place]:
            columns.append(pa.array(noisy, pa.int64()))
        else:
            columns.append(pa.array([v / order.grids[place] for v in noisy], pa.float64()))
    names = [field.name for field in fields]
    released = pa.table(columns, names=names)
    return Released(arrow=as_ipc(released), rows=released.num_rows, withheld=0, noise=order.errors)


def _over_domain(
    groups: list[tuple[Any, ...]],
    figures: list[list[int]],
    order: NoiseOrder,
    schema: pa.Schema,
) -> tuple[list[tuple[Any, ...]], list[list[int]]]:
    """Each declared group once, with zeros where no row has it; other groups are dropped."""
    assert order.domain is not None
    columns = list(zip(*order.domain, strict=True))
    typed = [
        pc.cast(pa.array(list(values)), schema.field(place).type).to_pylist()
        for place, values in enumerate(columns)
    ]
    domain = list(zip(*typed, strict=True))
    if len(set(domain)) < len(domain):
        raise error("POD_FAILED", "declared values of a column are one value in its type")
    at = {group: place for place, group in enumerate(groups)}
    places = [at.get(group) for group in domain]
    return domain, [[0 if p is None else col[p] for p in places] for col in figures]


def as_ipc(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _derived(secret: bytes, use: str) -> bytes:
    return hmac.digest(secret, f"podsql {use}".encode(), "sha256")
