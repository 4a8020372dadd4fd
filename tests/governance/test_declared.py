"""governance.toml: strict, documented, and without any right."""

import pytest
import tomli

from podsql.errors import Error
from podsql.governance import duo
from podsql.governance.declared import (
    TEMPLATE,
    Declared,
    load_declared,
    parse_declared,
    write_template,
)


def test_no_file_is_an_empty_description(tmp_path):
    assert load_declared(tmp_path / "governance.toml") == Declared()


def test_the_template_is_read_as_it_is_and_with_every_line_switched_on(tmp_path):
    path = tmp_path / "governance.toml"
    write_template(path)
    assert load_declared(path) == Declared()
    on = "\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines()[3:])
    tomli.loads(on)
    found = parse_declared(on.encode())
    assert found.projects["asthma"].duo == ("HMB", "NCU", "IRB", "TS")
    assert found.retention.audit_years == 7
    assert all(getattr(found, name) for name in ("people", "parties", "data"))
    with pytest.raises(Error, match="exists"):
        write_template(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[projects.a]\nfounder = 'x'", "did you mean 'funder'"),
        ("[projects.a]\nduo = ['HMB', 'XYZ']", "XYZ"),
        ("[[parties]]\nname = 'x'\nrole = 'king'", "king"),
        ("[retention]\naudit_years = 0", ">= 1"),
        ("[projects.a]\nstarts = 2026-02-02\nends = 2026-02-01", "ends before it starts"),
        ("[projects.a]\nends = 'soon'", "date"),
        ("[rights]\nall = true", "rights"),
        ("not toml", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(Error) as caught:
        parse_declared(text.encode())
    assert caught.value.code == "CONFIG"
    assert words in str(caught.value)


def test_codes_are_the_ontologys_and_each_has_words():
    numbers = [number for number, _ in duo.WORDS.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(number.startswith("DUO:") and len(number) == 11 for number in numbers)
    assert duo.in_words(("HMB",)) == "HMB (DUO:0000006, health or medical research)"
