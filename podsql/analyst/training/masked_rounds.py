"""Rounds of a model whose sums are added under masks: what one pod brings is seen by nobody else.

All rounds of one shape are one job of secure sums. Its cells are exact (``engine/sums/doubles.py``), so
the sums are those that ``Rounds`` adds in the clear, bit for bit. All pods are asked for the same, to the
byte: its hash is in their masks.
Rule to keep: rows, rows left out and sums come out of the opened sum, and from nowhere else.
"""

import time
from collections.abc import Collection
from typing import Final

import pyarrow as pa
from msgspec.structs import replace

from podsql.analyst.asking import ask
from podsql.analyst.exchange import Exchange
from podsql.analyst.federation import Bound
from podsql.analyst.leading import Leader
from podsql.analyst.statement import Statement
from podsql.analyst.sum_jobs import lead
from podsql.analyst.training.rounds import require_same_data, stages_of, withheld_at
from podsql.engine.sums.doubles import CELLS, from_cells
from podsql.engine.training.fitting import Round
from podsql.errors import Error, error
from podsql.messages import QueryPayload, content_hash, encode, sum_about, sum_request
from podsql.planner.fragment import ModelStep, encode_fragment
from podsql.planner.masking import Masking, require_one_request
from podsql.planner.plan import Stage
from podsql.planner.training.designing import Design

ROUNDS: Final = 1 << 20
"""Of one job; a fit needs some dozens."""


class MaskedRounds:
    """Asks the pods of one design. ``seconds``: what each round may take."""

    def __init__(
        self,
        statement: Statement,
        bound: Bound,
        design: Design,
        masking: Masking,
        *,
        seconds: float,
    ) -> None:
        self._statement = statement
        self.bound = bound
        self._design = design
        self._masking = masking
        self.seconds = seconds
        self._leaders: dict[tuple[str, ...], Leader] = {}
        self._listed = False
        self._apart: frozenset[str] = frozenset()
        require_one_request([part.pods for part in design.parts])
        self.versions: dict[str, str] = {}
        """Data version of each pod, of the first round."""
        self.asked = 0

    @property
    def pods(self) -> tuple[str, ...]:
        """Who is asked."""
        return self._design.pods

    def require_unopened(self, lost: Collection[str]) -> None:
        """PODS_MISSING if sums with the figures of ``lost`` were opened, or may be: the pods bring none
        beside them without these. Unless the custodians of ``lost`` let that be."""
        if (self._listed or self.versions) and not self._apart.issuperset(lost):
            raise opened_with(lost)

    def sums(self, asked: Round, *, references: bool = False) -> dict[str, float]:
        """The sums of one round over all pods; ``references``: of every level of its categories alone.

        PodsLost if one left before its figures came; WITHHELD names a pod that keeps its own.
        """
        self.asked += 1
        statement = self._statement
        statement.deadline = time.monotonic() + self.seconds
        name = f"round{self.asked}"
        [stage] = stages_of(self._design, asked, name, references=references)
        names = tuple(field.name for field in stage.fields)
        leader = self._leaders.get(names) or self._lead(stage, names)
        payload = self._payload(stage)
        exchanges = [self._exchange(stage, pod, leader) for pod in stage.pods]
        statement.take_on(exchanges)
        statement.on_cancel = leader.stop
        if statement.cancelled:
            leader.stop()
        try:
            opened = leader.sum(exchanges, statement.deadline, content_hash(payload))
        except Error as fault:
            self._listed |= leader.listed
            statement.cancel_pods()
            self._leaders.clear()  # what goes on is another job, with new keys
            if fault.code == "WITHHELD" and fault.pod is not None:
                raise withheld_at([fault.pod]) from None
            raise
        for exchange in exchanges:
            statement.note(exchange)
        require_same_data(self.versions, statement.outcome.receipts, f"{name}_")
        [part] = opened.parts
        dropped, *cells = part.units()
        figures = (float(opened.rows), float(dropped), *from_cells(cells))
        return dict(zip(names, figures, strict=True))

    def _lead(self, stage: Stage, names: tuple[str, ...]) -> Leader:
        """A new job, for rounds of these sums."""
        statement, bound = self._statement, self.bound
        pods = self._design.pods
        head = self._exchange(stage, pods[0], None).head
        leader = self._leaders[names] = lead(
            statement,
            bound,
            self._masking,
            pods=pods,
            about=sum_about(head, statement.sql, names),
            cells=1 + CELLS * (len(names) - 2),
            rounds=ROUNDS,
            seconds=self.seconds,
        )
        self._apart = leader.apart
        return leader

    def _payload(self, stage: Stage) -> QueryPayload:
        """What every pod is asked for."""
        assert isinstance(stage.fragment, ModelStep)
        step = replace(stage.fragment, masked=True)
        return QueryPayload(fragment=encode_fragment(step), statement=self._statement.sql)

    def _exchange(self, stage: Stage, pod: str, leader: Leader | None) -> Exchange:
        """The signed request for what ``pod`` brings to the leader's next round."""
        statement, bound = self._statement, self.bound
        payload = encode(self._payload(stage))
        request = bytes(16)
        if leader is not None:
            identity = bound.cards[pod].identity
            request = sum_request(leader.job.digest, leader.round + 1, identity)
        return ask(
            statement.federation,
            bound,
            pod,
            payload,
            request_id=request,
            statement_id=statement.statement_id,
            tables=self._design.tables,
            purpose=statement.purpose,
            project=statement.project,
            pods=self._design.pods,
            schema=pa.schema([]),
            max_rows=1,
            deadline=statement.deadline,
            stage=stage.name,
        )


def opened_with(lost: Collection[str]) -> Error:
    """PODS_MISSING: a model is not begun again without ``lost`` beside sums in which they are."""
    return error(
        "PODS_MISSING",
        f"{', '.join(map(repr, sorted(lost)))}: sums with these pods were opened, "
        "and sums without them would tell their figures",
        hint="wait for them, then RESUME JOB; or train anew once the other pods' data have changed",
    )
