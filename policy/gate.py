"""The gate: what a pod lets an analyst's fragment be. It trusts nobody's planner.

Rule to keep: only SQL regenerated here from checked trees is ever run; every refusal is a
``Denial``. Checks read the policy and the schema, never a row, so a refusal gives nothing away.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from msgspec.structs import replace as with_fields
from sqlglot import exp

from podsql.planner.fragment import (
    Aggregate,
    Binned,
    Fragment,
    LocalTable,
    ModelStep,
    Noised,
    NoisyStep,
    Psi,
    Rows,
    TorchStep,
    encode_fragment,
)
from podsql.planner.key_lists import declared_texts
from podsql.planner.local_keys import key_column
from podsql.planner.offer import ColumnOffer, TableOffer
from podsql.planner.training.local_steps import LOCAL_FIELDS
from podsql.planner.training.local_steps import without_numbers as network_alone
from podsql.policy.binned import judge_binned
from podsql.policy.denial import Denial
from podsql.policy.document import Policy, Release, Use, policy_hash
from podsql.policy.dominance import dominance_rules
from podsql.policy.entity import entity_rights
from podsql.policy.grants import granted_release
from podsql.policy.guard import GUARD, guard_column
from podsql.policy.joins import Pair, require_joins
from podsql.policy.local_tables import counted, kept_rows, local_order
from podsql.policy.masked import judge_masked
from podsql.policy.merged import is_merged, judge_merged, least_units, released_as
from podsql.policy.models import (
    ModelOrder,
    design_rows,
    judge_model,
    model_fields,
    without_numbers,
)
from podsql.policy.networks import judge_network, network_design, network_sql
from podsql.policy.noised import judge_noised, judge_noisy_bins
from podsql.policy.noisy_models import judge_noisy_model, plain_step
from podsql.policy.per_unit import with_unit_rules
from podsql.policy.person import Person, require_person
from podsql.policy.populations import populations
from podsql.policy.psi import PsiAsk
from podsql.policy.reading import Derived, Reading, read
from podsql.policy.regenerate import (
    Output,
    aggregate_select,
    all_or_none,
    read_outputs,
    rows_sql,
    sent_keys,
    text_of,
)
from podsql.policy.rights import (
    PodTable,
    TableRights,
    bins_of,
    disclosures,
    strictest,
    table_rights,
    with_explicit_roles,
)
from podsql.policy.roles import (
    protected,
    require_aggregates,
    require_functions,
    require_key,
    require_no_aggregates,
    require_output,
    require_predicates,
)
from podsql.policy.scope import Derive, Scope, Source, bind
from podsql.policy.shares import named_shares
from podsql.policy.spread import spread_rules
from podsql.policy.table_cards import table_card
from podsql.policy.total import without_errors
from podsql.policy.verdict import Verdict
from podsql.service_messages import Grant, TableCard

VERDICTS: Final = 4096
"""Verdicts kept; the least recently used goes first."""
KEPT_BYTES: Final = 8192
"""A longer fragment is judged anew each time, so that hostile ones cannot fill the memory."""


class Gate:
    """Judges fragments against one policy document and one snapshot of the pod's tables."""

    def __init__(
        self,
        *,
        pod: str,
        tables: Mapping[str, PodTable],
        policy: Policy,
        data_version: str = "",
        salt: str = "",
        keeps: bool = False,
    ) -> None:
        """``salt``: a secret of the pod (hexadecimal) that decides which rows of a unit count.
        ``keeps``: the pod has a folder for tables of results."""
        self.pod = pod
        self._salt = salt
        self.policy = policy
        self.policy_hash = policy_hash(policy)
        self.data_version = data_version
        self._rights = _all_rights(policy, tables, "select")
        self._explicit = _with_roles(self._rights)
        self._meeting = _all_rights(policy, tables, "intersect")
        """Tables whose keys may be met by an analyst's own: of those, nothing else."""
        self._training = _all_rights(policy, tables, "train")
        self._training |= {name: one for name, one in self._rights.items() if one.public}
        granted = _all_rights(policy, tables, "networks")
        self._networks = {
            name: one for name, one in self._training.items() if one.public or name in granted
        }
        """Tables that networks may be trained on: by a word of its own, beside that for models."""
        self._keeping = _all_rights(policy, tables, "predict") if keeps else {}
        if self._keeping:
            self._keeping |= {name: one for name, one in self._rights.items() if one.public}
        self._keeps = keeps
        self._verdicts: OrderedDict[tuple[object, ...], Verdict | Denial] = OrderedDict()
        self._lock = threading.Lock()
        self._origins = {one.name: one.origins for one in tables.values()}

    @property
    def table_names(self) -> tuple[str, ...]:
        """Tables of which the policy lists at least one column."""
        return tuple(sorted(rights.table.name for rights in self._rights.values()))

    def table_cards(self) -> tuple[TableCard, ...]:
        """The tables that the document lists, for a policy service: names, types, roles."""
        listed = self._meeting | self._training | self._keeping | self._rights
        return tuple(table_card(listed[name]) for name in sorted(listed))

    def offer_tables(
        self,
        person: Person,
        purpose: str,
        project: str,
        now: int,
        grants: Sequence[Sequence[Grant]] = (),
    ) -> tuple[TableOffer, ...]:
        """What ``person`` may use; ``grants`` are verified ones, one sequence per policy service."""
        try:
            require_person(self.policy, person, purpose=purpose, project=project, now=now)
        except Denial:
            return ()
        offers = []
        listed = self._meeting | self._training | self._keeping | self._rights
        for name, rights in listed.items():
            released = granted_release(
                grants,
                analyst=person.identity,
                pod=self.pod,
                table=rights.table.name,
                purpose=purpose,
                project=project,
                now=now,
            )
            if released is not None:
                uses: list[Use] = ["select"] if name in self._rights else []
                uses += ["train"] if name in self._training else []
                uses += ["networks"] if name in self._networks else []
                uses += ["predict"] if name in self._keeping else []
                uses += ["intersect"] if name in self._meeting else []
                released = strictest(rights.release, released)
                offers.append(self._offer(rights, released, tuple(uses)))
        return tuple(sorted(offers, key=lambda offer: offer.name))

    def check(
        self,
        fragment: Fragment,
        *,
        person: Person,
        purpose: str,
        project: str,
        now: int,
        release: Release | None = None,
        granted: Sequence[str] | None = None,
    ) -> Verdict:
        """Judge ``fragment``; raises Denial.

        ``release`` is the strictest that the services' decisions allow (None: no service).
        ``granted`` are the tables the signed head names: a fragment that uses others is refused.
        """
        require_person(self.policy, person, purpose=purpose, project=project, now=now)
        kept = self._verdict(fragment, person, release)
        if isinstance(kept, Denial):
            raise Denial(kept.reason)
        if granted is not None and not {*map(str.lower, kept.tables)} <= {*map(str.lower, granted)}:
            raise Denial("NOT_GRANTED")
        if kept.model is not None and isinstance(fragment, ModelStep):
            model = kept.model
            return replace(
                kept,
                fields=model_fields(fragment),
                sql=model.sql(fragment),
                again=model.sql(fragment, passed=True),
            )
        if kept.model is not None and kept.network is not None and isinstance(fragment, TorchStep):
            sql, again, work = network_sql(fragment, kept.model, kept.network, self.pod)
            return replace(kept, sql=sql, again=again, work=work)
        return kept

    def _verdict(
        self, fragment: Fragment, person: Person, release: Release | None
    ) -> Verdict | Denial:
        if isinstance(fragment, Psi):
            fragment = with_fields(fragment, epoch=b"")  # which nothing here depends on
        if isinstance(fragment, ModelStep):
            fragment = without_numbers(fragment)
        if isinstance(fragment, TorchStep):
            fragment = network_alone(fragment)
        encoded = encode_fragment(fragment)
        if len(encoded) > KEPT_BYTES:
            return self._judged(fragment, release)
        if release == "rows":  # the least strict: as where no service says anything
            release = None
        key = (encoded, self.policy_hash, self.data_version, person, release)
        with self._lock:
            kept = self._verdicts.get(key)
            if kept is not None:
                self._verdicts.move_to_end(key)
                return kept
        found = self._judged(fragment, release)
        with self._lock:
            self._verdicts[key] = found
            while len(self._verdicts) > VERDICTS:
                self._verdicts.popitem(last=False)
        return found

    def _judged(self, fragment: Fragment, release: Release | None) -> Verdict | Denial:
        try:
            return self._judge(fragment, release)
        except Denial as denial:
            return denial

    def _judge(
        self,
        fragment: Fragment,
        release: Release | None,
        tables: Mapping[str, TableRights] | None = None,
    ) -> Verdict:
        """``tables``: other ones than statements may read."""
        if isinstance(fragment, ModelStep):
            return self._judge_model(fragment, release)
        if isinstance(fragment, TorchStep):
            return self._judge_network(fragment, release)
        if isinstance(fragment, NoisyStep):
            return self._judge_noisy_model(fragment, release)
        if isinstance(fragment, LocalTable):
            return self._judge_local(fragment, release)
        asked = None
        if isinstance(fragment, Psi):
            asked = PsiAsk.of(fragment, self.pod, self.policy)
            fragment = asked.own_count()
        if not isinstance(fragment, Aggregate | Noised | Binned | Rows):
            raise Denial("FRAGMENT_KIND")
        if fragment.inputs:
            raise Denial("JOIN_INPUT")
        masked = isinstance(fragment, Aggregate) and fragment.masked
        outputs = read_outputs(fragment)
        if asked is not None and asked.candidates:
            tables = self._meeting
        noisy = isinstance(fragment, Noised) or (isinstance(fragment, Binned) and fragment.noisy)
        by_row = isinstance(fragment, Rows)
        scope, pairs, open_rows = self._bound(
            read(fragment, self.policy.limits),
            self._rights if tables is None else tables,
            release,
            pod=None if masked else self.pod,
            hidden=noisy or (False if by_row else None),
        )
        guarded = not (open_rows or noisy or by_row)
        by_total = guarded and masked and is_merged(scope, release)
        if guarded and not by_total:
            _require_enforced(scope, release)
        order = bins = psi = sums = merged = None
        cells = 0
        if isinstance(fragment, Rows):
            require_no_aggregates(scope.outputs)
            if not open_rows:
                raise Denial("ROW_LEVEL")
            sql = rows_sql(fragment, scope, outputs)
        else:
            if asked is None:
                self._check_groups(fragment, scope, guarded=guarded or noisy)
            else:
                psi = asked.order(scope, self.policy, guarded=guarded)
            if isinstance(fragment, Aggregate) and masked:
                sums = judge_masked(fragment, scope, outputs, self.policy.output, guarded=guarded)
            if guarded or noisy:
                scope = without_errors(scope)
            if isinstance(fragment, Noised):
                sql, order = judge_noised(
                    fragment, scope, pairs, outputs, self.policy.dp, self._salt
                )
            elif isinstance(fragment, Binned) and fragment.noisy:
                sql, order = judge_noisy_bins(
                    fragment, scope, pairs, outputs, self.policy, self._salt
                )
            elif isinstance(fragment, Binned):
                sql, bins = judge_binned(
                    fragment, scope, pairs, outputs, self.policy, self._salt, guarded=guarded
                )
            elif by_total and isinstance(fragment, Aggregate) and sums is not None:
                select, merged = judge_merged(
                    fragment, scope, outputs, pairs, self.policy, sums, self._salt
                )
                sql, cells = text_of(select), merged.figures
            elif open_rows:
                sql = text_of(aggregate_select(fragment, scope, outputs))
            else:
                select, cells = self._guarded(fragment, scope, outputs, pairs)
                sql = text_of(select)
        found = self._about(scope, released_as(order, merged, guarded=guarded), guarded=guarded)
        return replace(
            found,
            sql=sql,
            fields=tuple(output.field for output in outputs),
            rounded=guarded and self.policy.output.round_base > 1,
            keys=0 if isinstance(fragment, Rows) else len(fragment.keys),
            cells=cells,
            sets=isinstance(fragment, Aggregate) and fragment.grouping_sets is not None,
            needs_ledger=cells > 0
            or bins is not None
            or (guarded and (psi is not None or masked or self.policy.output.caps is not None)),
            noise=order,
            bins=bins,
            fresh=isinstance(fragment, Noised | Binned) and fragment.fresh,
            psi=psi,
            masked=masked,
            sums=sums,
            merged=merged,
        )

    def _judge_model(self, step: ModelStep, release: Release | None) -> Verdict:
        """The design of a model: its sums leave for every round, its rows never."""
        scope, pairs, open_rows = self._row_scope(
            design_rows(step), self._training, release, noisy=False
        )
        model = judge_model(step, scope, pairs, self.policy, self._salt, guarded=not open_rows)
        found = self._of_model(model, scope, step.family, guarded=not open_rows)
        return replace(found, masked=step.masked)

    def _judge_network(self, step: TorchStep, release: Release | None) -> Verdict:
        """A round of a network, of a design that is judged as that of its sums."""
        scope, pairs, open_rows = self._row_scope(
            design_rows(network_design(step)), self._networks, release, noisy=False
        )
        model, network = judge_network(
            step, scope, pairs, self.policy, self._salt, guarded=not open_rows
        )
        return replace(
            self._of_model(model, scope, "network", guarded=not open_rows),
            min_units=network.least,
            fields=LOCAL_FIELDS,
            network=network,
            figures=network.weights,
        )

    def _of_model(self, model: ModelOrder, scope: Scope, family: str, *, guarded: bool) -> Verdict:
        return replace(
            self._about(scope, "sdc_local" if guarded else "rows", guarded=guarded),
            cells=model.cells,
            needs_ledger=model.cells > 0 or (guarded and self.policy.output.caps is not None),
            model=model,
            family=family,
        )

    def _judge_noisy_model(self, step: NoisyStep, release: Release | None) -> Verdict:
        """A round whose sums leave with noise, of a design that is judged with it."""
        scope, pairs, _ = self._row_scope(
            design_rows(plain_step(step)), self._training, release, noisy=True
        )
        sql, fields, noise, series = judge_noisy_model(step, scope, pairs, self.policy, self._salt)
        return replace(
            self._about(scope, "dp", guarded=False),
            sql=sql,
            fields=fields,
            noise=noise,
            family=f"noisy_{step.family}",
            series=series,
        )

    def _about(self, scope: Scope, release: Release, *, guarded: bool) -> Verdict:
        """What is said of everything that is read by ``scope``."""
        return Verdict(
            sql="",
            guard=guarded,
            fields=(),
            release=release,
            rounded=False,
            min_units=self.policy.output.min_units if guarded else 0,
            tables=tuple(sorted(scope.tables)),
            protected=self._protected(scope),
            limits=self.policy.limits,
            max_rows=self.policy.output.max_rows,
            keys=0,
            policy_hash=self.policy_hash,
        )

    def _judge_local(self, fragment: LocalTable, release: Release | None) -> Verdict:
        """The number of rows leaves as any count of them; the rows stay."""
        if not self._keeps:
            raise Denial("NO_LOCAL_TABLES")
        rows = kept_rows(fragment)
        verdict = self._judge(counted(fragment), release, self._keeping)
        scope, _, open_rows = self._row_scope(rows, self._keeping, release, noisy=False)
        order = local_order(fragment, rows, scope, self.policy, guarded=not open_rows)
        return replace(verdict, local=order)

    def _row_scope(
        self, rows: Rows, tables: Mapping[str, TableRights], release: Release | None, *, noisy: bool
    ) -> tuple[Scope, tuple[Pair, ...], bool]:
        """``rows`` over the tables they may be read from, their joins, and whether they may leave."""
        reading, hidden = read(rows, self.policy.limits), noisy or None
        scope, pairs, open_rows = self._bound(reading, tables, release, pod=self.pod, hidden=hidden)
        if not (noisy or open_rows):
            _require_enforced(scope, release)
        require_no_aggregates(scope.outputs)
        return scope, pairs, open_rows

    def _bound(
        self,
        reading: Reading,
        tables: Mapping[str, TableRights],
        release: Release | None,
        *,
        pod: str | None,
        hidden: bool | None,
    ) -> tuple[Scope, tuple[Pair, ...], bool]:
        """What is read, its joins, and whether its rows may leave. ``hidden``: whether it is judged as
        what does not leave by row, with a role for every column; None: where the rows may not."""
        derive = self._derive(release)
        scope = bind(reading, tables, pod, derive)
        self._require_size(scope)
        open_rows, pairs = self._check_source(scope, release)
        if hidden or (hidden is None and not open_rows):
            explicit = self._explicit if tables is self._rights else _with_roles(tables)
            if explicit != tables:
                scope = bind(reading, explicit, pod, derive)
                pairs = self._check_source(scope, release)[1]
        return scope, pairs, open_rows

    def _derive(self, release: Release | None) -> Derive:
        def derive(inner: Scope, derived: Derived) -> TableRights:
            leaves, pairs = self._check_source(inner, release)
            return entity_rights(inner, derived, self.policy, open_rows=leaves, pairs=pairs)

        return derive

    def _protected(self, scope: Scope) -> tuple[str, ...]:
        """Tables whose rows have a unit, and the files they come from: another table may be of the same."""
        names = scope.protected
        return tuple(sorted({*names, *(one for name in names for one in self._origins[name])}))

    def _require_size(self, scope: Scope) -> None:
        most = self.policy.limits.rows_scanned
        if most is not None and _rows(scope) > most:
            raise Denial("LIMIT")

    def _check_groups(
        self, fragment: Aggregate | Noised | Binned, scope: Scope, *, guarded: bool
    ) -> None:
        """Keys are of dimensions, figures of measures; a binned column is judged with its bins."""
        count = len(fragment.keys)
        keys, values = scope.outputs[:count], scope.outputs[count:]
        require_no_aggregates(keys)
        for one in keys:
            require_key(one, scope, self.policy)
        if isinstance(fragment, Binned):
            return
        require_aggregates(values)
        for one in values:
            require_output(one, scope, self.policy, guarded=guarded)

    def _guarded(
        self,
        fragment: Aggregate,
        scope: Scope,
        outputs: Sequence[Output],
        pairs: tuple[Pair, ...],
    ) -> tuple[exp.Select, int]:
        """The statement with its guard (every rule that needs no history), and its ``_u`` columns."""
        rules = self.policy.output
        count = len(fragment.keys)
        keys, values = scope.outputs[:count], scope.outputs[count:]
        found = populations(scope, values, protected(scope), pairs)
        guard = guard_column(found, sent_keys(scope, outputs, count), values, scope, rules)
        hidden = [(GUARD, guard)]
        if rules.overlap_guard:
            named = named_shares(found, scope, protected(scope), self._salt)
            hidden += [(f"_u{place}", one) for place, one in enumerate(named)]
        select = aggregate_select(fragment, scope, outputs, hidden, round_base=rules.round_base)
        listed = []
        for one in found:
            if one.condition is None:
                checked = dominance_rules(values, scope, rules)
                if one.unit is not None:
                    checked += spread_rules(values, scope, protected(scope), rules.min_units)
                listed += [(one, checked)] if checked else []
        if listed:
            select = with_unit_rules(select, keys, listed, protected(scope), GUARD)
        if fragment.grouping_sets is not None and len(fragment.grouping_sets) > 1:
            select = all_or_none(select, count)
        return select, len(hidden) - 1

    def _check_source(self, scope: Scope, release: Release | None) -> tuple[bool, tuple[Pair, ...]]:
        """Functions, conditions and joins of a source; whether its rows may leave, and its joins."""
        open_rows = all(_leaves_by_row(source, scope, release) for source in protected(scope))
        require_functions(scope, self.policy, guarded=not open_rows)
        require_predicates(scope, self.policy)
        conditions = [term for source in scope.sources for term in source.conditions]
        require_no_aggregates((*conditions, *scope.where))
        return open_rows, require_joins(scope, self.policy)

    def _offer(self, rights: TableRights, release: Release, uses: tuple[Use, ...]) -> TableOffer:
        # A unit that is not listed, or a key hidden by the policy, is not named to the analyst.
        unit = (
            rights.unit
            if rights.unit is not None and rights.unit.lower() in rights.columns
            else None
        )
        by_row = rights.public or (release == "rows" and bool(rights.rows))
        return TableOffer(
            name=rights.table.name,
            kind=rights.table.kind,
            columns=tuple(
                ColumnOffer(
                    name=column.name,
                    type=column.type,
                    roles=tuple(sorted(column.roles or ())),
                    bins=bins_of(column, self.policy),
                    values=declared_texts(column.type, column.values or ()),
                )
                for column in rights.columns.values()
            ),
            local_keys=tuple(
                key for key in rights.table.local_keys if key_column(key).lower() in rights.columns
            ),
            privacy_unit=unit,
            release="rows" if by_row else release,
            disclosures=disclosures(self.policy, by_row),
            content_hash=rights.table.content_hash,
            data_version=self.data_version,
            policy_hash=self.policy_hash,
            min_units=0 if by_row else least_units(self.policy, release),
            psi_count="psi_count" in self.policy.joins.kinds
            and not rights.public
            and release in ("sdc_local", "rows"),
            uses=uses,
        )


def _all_rights(policy: Policy, tables: Mapping[str, PodTable], use: Use) -> dict[str, TableRights]:
    found = {name: table_rights(policy, table, use) for name, table in tables.items()}
    return {name.lower(): rights for name, rights in found.items() if rights is not None}


def _with_roles(tables: Mapping[str, TableRights]) -> dict[str, TableRights]:
    return {name: with_explicit_roles(one) for name, one in tables.items()}


def _rows(scope: Scope) -> int:
    """Rows of every table that is read, once for each time it is."""
    return sum(
        source.rights.table.rows if source.inner is None else _rows(source.inner)
        for source in scope.sources
    )


def _leaves_by_row(source: Source, scope: Scope, release: Release | None) -> bool:
    """Whether every column used of ``source`` could leave row by row: then no guard is needed."""
    rights = source.rights
    if strictest(rights.release, release) != "rows" or not rights.rows:
        return False
    return scope.used(source) <= rights.rows


def _require_enforced(scope: Scope, release: Release | None) -> None:
    for source in protected(scope):
        if strictest(source.rights.release, release) not in ("sdc_local", "rows"):
            raise Denial("CONFLICTING_RELEASE")
