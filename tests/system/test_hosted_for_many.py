"""One policy service process for two federations: each is served, and nothing of one is in the other."""

import subprocess
import sys

import pytest

import podsql
from podsql.demo.stage import Stage
from podsql.errors import Error
from podsql.membership import load_membership

COUNT = "SELECT count(*) FROM visits"


def policy(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "podsql", *map(str, arguments)], check=True, timeout=60)


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    stages = {}
    try:
        for name, analyst, rows in (("clinics", "annabel", 40), ("banks", "robert", 70)):
            home = tmp_path_factory.mktemp(name)
            (home / "visits.csv").write_text("id\n" + "\n".join(map(str, range(rows))) + "\n")
            table = {"path": str(home / "visits.csv"), "privacy_unit": "id"}
            stages[name] = Stage(
                home=home, pods={f"{name}-pod": {"visits": table}}, analysts=(analyst,)
            )
            stages[name].build()
        for stage in stages.values():
            (own,) = [one for one in stage._processes if "policy" in one.args]
            own.terminate()
            own.wait(20)
        one, other = stages.values()
        both = ["--federation", str(one.access), "--federation", str(other.access)]
        one.run(["policy", "serve", *both], ready=1)
        yield one, other
    finally:
        for stage in stages.values():
            stage.close()


def answer(stage: Stage) -> object:
    """The count, or the code of the refusal."""
    with podsql.connect(stage.analyst) as connection:
        try:
            return connection.execute(COUNT).fetchone()[0]
        except Error as fault:
            return fault.code


def test_each_federation_is_decided_for_by_its_own_record(hosted):
    one, other = hosted
    assert (answer(one), answer(other)) == (40, 70)
    policy("revoke", one.grants["visits"], "--federation", one.access)
    assert answer(one) in ("DENIED", "UNKNOWN_TABLE")
    assert answer(other) == 70
    policy("policy", "freeze", "all", "--reason", "an incident", "--federation", other.access)
    policy("grant", "annabel", "--table", "visits", "--federation", one.access)
    assert answer(one) == 40
    assert answer(other) in ("PAUSED", "DENIED", "PODS_MISSING")


def test_no_store_names_anything_of_the_other_federation(hosted):
    """Keys, people, pods: what a hosted administrator could read of somebody else."""
    one, other = hosted
    for stage, stranger in ((one, other), (other, one)):
        files = stage.access.parent.glob("policy.sqlite*")
        held = b"".join(path.read_bytes() for path in files if path.is_file())
        assert load_membership(stage.analyst).keys.identity_public in held
        for name in (*stranger.pods, *stranger.analysts):
            assert name.encode() not in held
        for place in (stranger.analyst, stranger.membership(next(iter(stranger.pods)))):
            assert load_membership(place).keys.identity_public not in held


def test_two_federations_with_one_key_are_refused(hosted):
    one, _ = hosted
    done = subprocess.run(
        [sys.executable, "-m", "podsql", "policy", "serve",
         "--federation", str(one.access), "--federation", str(one.access)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "same key" in done.stderr
