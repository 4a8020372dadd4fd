"""Principal components of the correlation matrix, or of the covariance matrix as it is.

Rounds: ``moments``; the products of the centred features. Variances are those of n - 1, of standardised
features the eigenvalues of the correlation matrix, as R's prcomp.
Rule to keep: the largest loading of a component is positive, so that a model has one sign.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from podsql.engine.training.fitted import Components, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.information import square
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    counts,
    known,
    refuse_constants,
    take_moments,
)
from podsql.errors import error


class PcaState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pca/1", kw_only=True):
    """A fit between two rounds."""

    rounds: int = 0
    moments: Moments | None = None
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pca:
    """How to fit one. ``components`` 0: as many as features."""

    method: str
    design: Design
    components: int = 0
    standardize: bool = True

    def begin(self) -> PcaState:
        """The state before any round."""
        return PcaState()

    def ask(self, state: PcaState) -> Round | None:
        """Moments, then products."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments = known(state.moments)
        return Round(family="products", centre=moments.mean, scale=moments.deviation)

    def advance(self, state: PcaState, sums: Sums) -> PcaState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is None:
            counts(sums, state.moments)
            return msgspec.structs.replace(state, fitted=self._fit(state, sums))
        moments = take_moments(state.moments, sums, self.design)
        if moments.settled:
            refuse_constants(moments, self.design)
            if moments.n < 2:
                raise error("DATA", "one row has no variance")
        return msgspec.structs.replace(state, moments=moments)

    def progress(self, state: PcaState) -> Progress:
        """Rounds."""
        return Progress(rounds=state.rounds)

    def fitted(self, state: PcaState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    def _fit(self, state: PcaState, sums: Sums) -> Fitted:
        moments, size = known(state.moments), len(self.design.terms)
        matrix, scale = square(sums, size + 1), np.array(moments.deviation)
        # the means of the first round are right to rounding only: what is left is taken off here
        centred = matrix[1:, 1:] - np.outer(matrix[0, 1:], matrix[0, 1:]) / moments.n
        covariance = centred / (moments.n - 1)
        unit = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(unit, unit)
        judged = correlation if self.standardize else covariance * np.outer(scale, scale)
        values, vectors = np.linalg.eigh((judged + judged.T) / 2)
        kept = self.components or size
        variances = np.maximum(values[::-1], 0.0)
        loadings = vectors.T[::-1]
        largest = loadings[np.arange(size), np.argmax(np.abs(loadings), axis=1)]
        loadings = loadings * np.sign(largest)[:, None]
        return Fitted(
            method=self.method,
            terms=self.design.terms,
            targets=(),
            n=moments.n,
            dropped=round(sums["dropped"]),
            rounds=state.rounds,
            parameters=Components(
                loadings=tuple(map(tuple, loadings[:kept].tolist())),
                variances=tuple(variances[:kept].tolist()),
                shares=tuple((variances[:kept] / variances.sum()).tolist()),
                correlation=tuple(correlation.ravel().tolist()),
                centre=tuple((np.array(moments.mean) + matrix[0, 1:] * scale / moments.n).tolist()),
                scale=tuple((unit * scale).tolist()) if self.standardize else (1.0,) * size,
            ),
            metrics={"total_variance": float(variances.sum())},
        )
