"""pod.toml is read strictly, and a mistake is named with the nearest right word."""

import pytest

from podsql.errors import Error
from podsql.pod.config import CONFIG_BYTES, parse_pod_config, qualified

GOOD = b"""
[pod]
state = "s"
[policy]
preset = "open"
[tables."clinic.visits"]
path = "v.parquet"
privacy_unit = "p"
local_keys = ["id"]
columns = { age = "INTEGER" }
[views."clinic.old"]
sql = "SELECT * FROM clinic.visits"
[limits]
threads = 1
"""


def refusal(data: bytes) -> Error:
    with pytest.raises(Error) as caught:
        parse_pod_config(data)
    assert caught.value.code == "CONFIG"
    return caught.value


def test_a_whole_file_is_read():
    config = parse_pod_config(GOOD)
    assert config.tables["clinic.visits"].local_keys == ("id",)
    assert config.views["clinic.old"].kind == "federated"
    assert (config.pod.state, config.limits.threads, config.policy.preset) == ("s", 1, "open")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (b'[pod]\nstat = "s"\n', "state"),
        (b'[tables.t]\npath = "x"\nprivacy_unt = "p"\n', "privacy_unit"),
        (b"[limit]\nthreads = 1\n", "limits"),
    ],
)
def test_an_unknown_key_names_the_nearest(wrong, hint):
    assert hint in refusal(wrong).hint


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[tables.t]\n",
        b"[tables.t]\npath = 3\n",
        b'[tables.t]\npath = "x"\nkind = "other"\n',
        b'[tables."a.b.c"]\npath = "x"\n[policy]\nfile = "p"\npreset = "open"\n',
        b'[tables.t]\npath = "x"\n[views.t]\nsql = "SELECT 1"\n',
        b"not toml at all",
        b"\xff\xfe",
        b"a." * 20000 + b"b = 1",
        b"#" * (CONFIG_BYTES + 1),
    ],
    ids=range(10),
)
def test_what_is_wrong_is_refused(wrong):
    refusal(wrong)


@pytest.mark.parametrize("name", ["a b", "a.b.c", "", "1a", "a;b", "../x", "ä"])
def test_attack_69_a_table_name_is_a_plain_name(name):
    with pytest.raises(Error):
        qualified(name)


def test_a_bare_name_is_in_main():
    assert qualified("visits") == "main.visits"
