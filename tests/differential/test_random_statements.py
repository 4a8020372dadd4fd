"""Random statements over every split, with and without rows that leave: equal or refused."""

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from splits import EVERY_CLASS, SPLITS, build
from statement_writer import Writer
from test_equal_or_refused import check

BIG = bool(os.environ.get("PODSQL_BIG"))
SEED = random.randrange(10**9) if BIG else 12
STATEMENTS = 5000 if BIG else 60
GROUPS_ONLY = ("additive", "moments", "extreme", "distinct")


def test_random_statements_are_answered_as_by_one_database():
    print(f"seed {SEED}")
    federations = [
        build(split, seed=3, size=12, classes=classes)
        for split in SPLITS
        for classes in (EVERY_CLASS, GROUPS_ONLY)
    ]
    wrong, answered = [], 0
    for number in range(STATEMENTS):
        rng = random.Random(f"{SEED} {number}")
        line = Writer(rng).statement()
        found = check(rng.choice(federations), line, also=("DENIED",))
        answered += found == "equal"
        if found not in ("equal", "refused"):
            wrong.append(f"{SEED} {number}: {found}")
    for federation in federations:
        federation.close()
    assert wrong == []
    assert answered > STATEMENTS // 2
