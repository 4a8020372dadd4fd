"""One federation for every library that connects to it, and its membership as files."""

import pyarrow as pa
import pytest

import podsql
from podsql.membership import membership_text
from podsql.relay.keys import save_keys

NORTH = pa.table(
    {
        "visit_id": [1, 2, 3],
        "sex": ["f", "m", "f"],
        "age": [34, 51, 47],
        "seen": pa.array([0, 86_400, None], pa.timestamp("s")).cast(pa.timestamp("us")),
    }
)
SOUTH = pa.table(
    {
        "visit_id": [4, 5],
        "sex": ["m", "f"],
        "age": [29, 62],
        "seen": pa.array([None, 172_800], pa.timestamp("s")).cast(pa.timestamp("us")),
    }
)
MANY = 120_000
PASSPHRASE = "canary-7f3a"


@pytest.fixture(scope="session")
def federation():
    long = pa.table({"row_id": pa.array(range(MANY)), "x": pa.array([i % 97 for i in range(MANY)])})
    with podsql.local(
        {"north": {"visits": NORTH, "long": long}, "south": {"visits": SOUTH}},
        reference={"numbers": pa.table({"n": list(range(3000))})},
        local_keys={"visits": ["visit_id"], "long": ["row_id"]},
        privacy_unit={"visits": "visit_id"},
        isolation="thread",
    ) as made:
        yield made


@pytest.fixture(scope="session")
def member_file(federation, tmp_path_factory):
    """``federation.toml`` of an analyst, with keys under a passphrase."""
    home = tmp_path_factory.mktemp("member")
    member = federation.membership()
    path = home / "federation.toml"
    path.write_text(membership_text(member.file))
    save_keys(home / member.file.me.keys, member.keys, PASSPHRASE)
    (home / member.file.me.manifest).write_bytes((member.path.parent / "manifest.bin").read_bytes())
    return path


@pytest.fixture
def passphrase():
    return PASSPHRASE


@pytest.fixture
def con(federation):
    with federation.connect() as made:
        yield made
