"""Random rounds of models, from the grammar of the other fragments.

Rule to keep: as in ``fuzz_grammar.py``, whatever is written follows from the ``Random`` alone.
"""

import random
from typing import Final, get_args

from fuzz_grammar import FOREIGN_SCALARS, FOREIGN_SOURCES, VISIBLE, Grammar

from podsql.planner.fragment import Family, Feature, ModelStep, Split

NUMBERS: Final = (0.0, 0.1, -0.5, 1.0, 3.0, -30.0, 1e3, 1e-9, 1e17, -1e300, 1e308, 5e-324)
ODD_NUMBERS: Final = (float("nan"), float("inf"), -float("inf"))
LINKED: Final = ("gaussian", "binomial", "poisson", "gamma")
SCORED: Final = tuple(one for one in get_args(Family) if one.startswith(("score_", "absolute_")))
WITH_CONSTANT: Final = (*LINKED, *SCORED, "ranks")
TARGETS: Final = {**dict.fromkeys(WITH_CONSTANT, 1), "cox": 2, "classes": 2}


class Models:
    """Writes one round with ``grammar``."""

    def __init__(self, grammar: Grammar, chance: random.Random) -> None:
        self._grammar, self._chance = grammar, chance

    def step(self) -> ModelStep:
        """A round, hostile in about half of the cases."""
        chance, grammar = self._chance, self._grammar
        grammar._placeholders = self._odds(0.6)
        grammar._open = self._odds(0.2)
        family = chance.choice(get_args(Family))
        source = grammar._source()
        features = [self._feature() for _ in range(chance.choice((1, 1, 2, 3)))]
        targets = [
            self._condition() if family == "classes" or self._odds(0.4) else self._number()
            for _ in range(TARGETS.get(family, 0))
        ]
        if family == "classes" and self._odds(0.8):
            (text, _), *_ = targets
            targets = [(text, True), (f"NOT ({text})", True)]
        hostile = self._odds(0.45)
        if hostile:
            source, features, targets = self._spoiled(source, features, targets)
        count = len(features)
        state = self._state(family, count)
        placed = self._odds(0.4)
        return ModelStep(
            family=family,
            source=source,
            features=tuple(Feature(f"f{n}", *one) for n, one in enumerate(features)),
            targets=tuple(Feature(f"t{n}", *one) for n, one in enumerate(targets)),
            centre=self._numbers(count) if placed else (),
            scale=self._numbers(count) if placed else (),
            state=state,
            literals=tuple(grammar._literals),
            masked=hostile and self._odds(0.05),
            split=Split(tenths=chance.choice((1, 3, 9)), held=self._odds(0.5))
            if self._odds(0.15)
            else None,
        )

    def _feature(self) -> tuple[str, bool]:
        return self._number() if self._odds(0.6) else self._condition()

    def _number(self) -> tuple[str, bool]:
        text = self._grammar._measure()
        if self._odds(0.1):
            text = self._grammar._expression("n", 1)
        return text, False

    def _condition(self) -> tuple[str, bool]:
        grammar = self._grammar
        grammar._role = "any" if grammar._open else "filter"
        if self._odds(0.4):
            found = grammar._found("s", "key")
            if found:
                return grammar._filled(f"{grammar._named(*self._chance.choice(found))} = @q"), True
        return grammar._expression("b", self._chance.choice((0, 0, 1, 2))), True

    def _state(self, family: str, count: int) -> tuple[float, ...]:
        wanted = {
            **dict.fromkeys(WITH_CONSTANT, count + 1),
            "cox": count,
            "kmeans": count * self._chance.choice((1, 2, 3)),
        }.get(family, 0)
        if family in LINKED and self._odds(0.3):
            return ()
        return self._numbers(wanted + (self._chance.choice((-1, 1)) if self._odds(0.05) else 0))

    def _numbers(self, count: int) -> tuple[float, ...]:
        pool = NUMBERS if self._odds(0.4) else NUMBERS[1:5]
        pool += ODD_NUMBERS if self._odds(0.05) else ()
        return tuple(self._chance.choice(pool) for _ in range(count))

    def _spoiled(self, source, features, targets):
        """With a hidden column, something foreign, or other tokens in one of the texts."""
        grammar = self._grammar
        if self._odds(0.3):
            changed = grammar._filled(self._chance.choice(FOREIGN_SOURCES))
            return self._chance.choice((changed, grammar._mutated(source))), features, targets
        owners = [one for one in grammar._uses if one.columns != VISIBLE["site"]]
        written = [self._hidden(owners) if self._odds(0.5) else None for _ in features]
        for place, (text, condition) in enumerate(features):
            put = written[place]
            if put is None:
                put = self._chance.choice(
                    (
                        grammar._spliced(text),
                        grammar._mutated(text),
                        grammar._filled(self._chance.choice(FOREIGN_SCALARS)),
                    )
                )
            features[place] = (put, condition if self._odds(0.8) else not condition)
        return source, features, targets

    def _hidden(self, owners) -> str:
        if not owners or self._odds(0.3):
            return self._grammar._hidden()
        use = self._chance.choice(owners)
        if use.columns != VISIBLE["person"]:
            return f"{use.alias}.region"
        return self._chance.choice(
            (
                f"{use.alias}.name = 'name1'",
                f"{use.alias}.dob < DATE '1981-01-01'",
                f"length({use.alias}.name)",
                f"{use.alias}.name IS NULL",
                f"{use.alias}.dob",
            )
        )

    def _odds(self, share: float) -> bool:
        return self._chance.random() < share
