"""What one pod is asked to run: a closed, versioned union of fragments, never free SQL.

Every SQL part is a text field that must parse as one expression (or, for ``source``, as one
``FROM … [WHERE …]`` tree) in DuckDB's dialect. Literals that the analyst chose stand in
``literals`` and appear in the text as ``$1``, ``$2``, …; inputs of earlier stages are named Arrow
relations with a declared schema. ``_pod`` in a text means the answering pod's own name.
Rule to keep: a new kind of fragment is an addition with a tag of its own, never a change of one.
"""

from typing import Literal as OneOf

import msgspec

Disclosure = OneOf["noised", "additive", "moments", "extreme", "sketch", "distinct", "rows"]
"""What a partial gives away, lowest first."""
Family = OneOf[
    "moments",
    "gaussian",
    "binomial",
    "poisson",
    "gamma",
    "products",
    "kmeans",
    "cox",
    "classes",
    "score_gaussian",
    "score_binomial",
    "score_poisson",
    "score_gamma",
    "absolute_gaussian",
    "absolute_poisson",
    "absolute_gamma",
    "ranks",
    "score_classes",
    "hits",
]
"""What the sums of a model's round are of."""
Activation = OneOf["relu", "tanh"]
"""What stands between the layers of a network."""
Loss = OneOf["squared", "logistic", "softmax"]
"""What a network's local steps make smaller: squared errors, or cross-entropy of one condition or of classes."""


class Literal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One analyst-chosen literal.

    ``kind`` is ``number`` (text is a DuckDB numeric literal, unsigned), ``string`` (text is the
    value itself, unquoted) or ``null`` (text is empty).
    """

    kind: OneOf["number", "string", "null"]
    text: str


class Field(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A column of a relation: name and DuckDB type name."""

    name: str
    type: str


class Column(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An output of a fragment: ``sql`` is one expression, ``type`` the DuckDB type it must have.

    What travels is ``type``'s wire form (``planner/wire_types.py``); both ends derive it.
    """

    name: str
    sql: str
    type: str
    disclosure: Disclosure = "rows"


class Ordering(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One ORDER BY term of a Rows fragment; ``column`` is an index into ``columns``."""

    column: int
    descending: bool
    nulls_first: bool


class Relation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A released result of an earlier stage that travels down (data beside it, as Arrow IPC)."""

    name: str
    fields: tuple[Field, ...]


class Aggregate(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    tag="aggregate/1",
):
    """Partial aggregates per group of ``keys``.

    ``grouping_sets`` holds indices into ``keys`` (None: one set of all keys). With sets, the
    output gets one more BIGINT column ``grouping_id`` = GROUPING(keys…), the first key being the
    highest bit. Output columns: keys, then aggregates, then grouping_id.
    """

    source: str
    keys: tuple[Column, ...]
    aggregates: tuple[Column, ...]
    grouping_sets: tuple[tuple[int, ...], ...] | None = None
    literals: tuple[Literal, ...] = ()
    inputs: tuple[Relation, ...] = ()
    masked: bool = False


class Rows(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="rows/1"):
    """Rows of ``columns``; with ``order`` and ``limit`` only the pod's own first ``limit`` rows."""

    source: str
    columns: tuple[Column, ...]
    order: tuple[Ordering, ...] = ()
    limit: int | None = None
    literals: tuple[Literal, ...] = ()
    inputs: tuple[Relation, ...] = ()


class Noised(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="noised/1"
):
    """Counts (BIGINT) and sums (DOUBLE) per group of ``keys``, released with noise.

    ``epsilon`` and ``delta`` are decimal text; empty: what the pod's policy gives one statement.
    ``fresh``: new noise at a new charge, where the same fragment was answered before.
    """

    source: str
    keys: tuple[Column, ...]
    aggregates: tuple[Column, ...]
    epsilon: str = ""
    delta: str = ""
    fresh: bool = False
    literals: tuple[Literal, ...] = ()
    inputs: tuple[Relation, ...] = ()


class Binned(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="binned/1"
):
    """How many rows have ``column`` in which of its public bins, per group of ``keys``.

    Output columns: keys, then ``low``, ``high`` (bin numbers, both included) and ``n``, BIGINT. An
    exact release joins bins until enough privacy units are in each; with ``noisy`` every bin has a
    noisy count, and the rest is as in ``Noised``.
    """

    source: str
    keys: tuple[Column, ...]
    column: Column
    noisy: bool = False
    epsilon: str = ""
    delta: str = ""
    fresh: bool = False
    literals: tuple[Literal, ...] = ()
    inputs: tuple[Relation, ...] = ()


BIN_FIELDS = (Field("low", "BIGINT"), Field("high", "BIGINT"), Field("n", "BIGINT"))
"""What stands after the keys of a ``Binned`` fragment's output."""


class Bins(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="bins/1"):
    """One counting round of an exact quantile: bins of ``column`` below ``path`` at ``level``."""

    source: str
    column: Column
    level: int
    path: tuple[int, ...]
    literals: tuple[Literal, ...] = ()


class Feature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One column of a model's design: ``sql`` is one expression over a row.

    ``indicator``: a condition, 1 where it is true and 0 where it is false; else a number.
    """

    name: str
    sql: str
    indicator: bool = False


class Split(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The rows of a part of the people: of ``tenths`` tenths of them that are ``held`` back, or of the others."""

    tenths: int
    held: bool


class ModelStep(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="model/1"
):
    """One round of an exact model: the pod builds the SQL from family, columns and state.

    The sums are over the rows in which every feature and target has a value, of features less
    ``centre`` by ``scale`` (both empty: as they are). Output: ``planner/training/steps.py``.
    """

    family: Family
    source: str
    features: tuple[Feature, ...]
    targets: tuple[Feature, ...] = ()
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    state: tuple[float, ...] = ()
    literals: tuple[Literal, ...] = ()
    masked: bool = False
    split: Split | None = None


class NoisyStep(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="noisy-model/1"
):
    """One round of a model whose sums leave with noise; all rounds of a series are paid for as one.

    ``ranges``: low and high of every feature, then target, by which numbers are brought to -1 to 1; empty:
    the pod's own bounds. A row counts if every column has a value, and each category one of its levels,
    features or ``references``. ``rounds`` are those of the whole series, ``number`` counts them from 0;
    ``series``: what tells it from others of the same design, 16 bytes or none. ``epsilon`` and ``delta``
    are of the whole series: decimal text; empty: what the pod's policy gives one statement.
    Output: ``planner/training/noisy_steps.py``.
    """

    family: OneOf["gaussian", "binomial"]
    source: str
    features: tuple[Feature, ...]
    targets: tuple[Feature, ...] = ()
    references: tuple[Feature, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()
    rounds: int = 1
    number: int = 0
    state: tuple[float, ...] = ()
    series: bytes = b""
    epsilon: str = ""
    delta: str = ""
    literals: tuple[Literal, ...] = ()


class LocalTable(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="local/1"
):
    """Rows of ``columns`` that stay at the pod, as its custodian's own table; their number leaves.

    ``model``: hash of the model that foretold them, for the custodian's records. ``overwrite``: in
    place of a table of that name by the same person.
    """

    source: str
    columns: tuple[Column, ...]
    table: str
    model: str
    overwrite: bool = False
    literals: tuple[Literal, ...] = ()


LOCAL_FIELDS = (Field("n", "BIGINT"),)
"""The output of a ``LocalTable`` fragment."""


class TorchStep(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="torch/1"
):
    """One round of a network: the pod takes local steps from the weights it is sent, and sends back its own.

    ``module`` is of a closed list, whose sizes and order of weights ``planner/training/local_steps.py``
    tells; no code travels. ``state``: the weights, little-endian 32-bit floats. Features are taken less
    ``centre`` by ``scale``, the target of squared errors likewise by ``aim``. ``batch`` 0: all rows at
    once. ``decay``: pull of the kernels to 0, ``proximal``: of all weights to those sent. ``epochs`` 0:
    only the loss is asked. ``number``: which round of its job it is; with ``seed`` and the pod's name it
    decides the order of rows.
    """

    module: str
    source: str
    state: bytes
    literals: tuple[Literal, ...] = ()
    features: tuple[Feature, ...] = ()
    targets: tuple[Feature, ...] = ()
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    aim: tuple[float, float] = (0.0, 1.0)
    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"
    loss: Loss = "squared"
    epochs: int = 1
    batch: int = 0
    rate: float = 0.1
    decay: float = 0.0
    proximal: float = 0.0
    seed: int = 0
    number: int = 0
    split: Split | None = None


class PsiPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The keys that ``pods`` bring: ``key`` is one column of ``source``."""

    pods: tuple[str, ...]
    source: str
    key: Column


class Psi(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="psi/1"):
    """A question about keys of several parties, answered by private set intersection.

    Of pods: how many different keys they have together (``union``), or each of them has
    (``overlap``). Every pod gets the same fragment, so each sees what the others are asked; the last
    pod by name answers ``n`` BIGINT, the others no row. Of the analyst's own keys, ``candidates``
    of them, and one pod's: how many the pod has (``met``, ``n`` BIGINT), or which (``matched``: their
    numbers in ascending order of the blinded keys sent, ``place`` BIGINT).
    ``epoch``: 16 bytes, new each time the fragment is sent.
    """

    counted: OneOf["union", "overlap", "met", "matched"]
    parts: tuple[PsiPart, ...]
    epoch: bytes = b""
    literals: tuple[Literal, ...] = ()
    candidates: int = 0

    @property
    def pods(self) -> tuple[str, ...]:
        """Names of all pods, in order."""
        return tuple(sorted(pod for part in self.parts for pod in part.pods))


PSI_FIELDS = (Field("n", "BIGINT"),)
"""The output of a ``Psi`` fragment that counts."""
MATCHED_FIELDS = (Field("place", "BIGINT"),)
"""The output of one that tells which."""


Fragment = (
    Aggregate | Rows | Noised | Binned | Bins | ModelStep | NoisyStep | LocalTable | TorchStep | Psi
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Fragment] = msgspec.msgpack.Decoder(Fragment)


def encode_fragment(fragment: Fragment) -> bytes:
    """The fragment's bytes on the wire (and under the analyst's signature)."""
    return _ENCODER.encode(fragment)


def decode_fragment(data: bytes) -> Fragment:
    """Read a fragment; msgspec.ValidationError on anything that is not exactly one."""
    return _DECODER.decode(data)
