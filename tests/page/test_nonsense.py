"""Nonsense in every field, query and path: refused or ignored, never a fault of ours."""

import os
import random
import re

from worlds import ANA_KEY, BEN, fill, pages

from podsql.policy.service.page.app import ACTIONS
from podsql.policy.service.page.visits import ForOfficers

NONSENSE = (
    "", " ", "x" * 5000, "\x00", "\u202e", "\ud7ff", "-1", "0", "1" * 30, "*", "%", "..", "../../etc", "'; DROP TABLE grants--",
    "<script>", "{{7*7}}", "9999-12-31", "0001-01-01", "2030-13-45", "NaN", "ps1", ANA_KEY, "\n\n,,\n", "é" * 300, "true", "[]", "[[", "= 1",
)  # fmt: skip
FIELDS = (
    "note", "person", "tables", "pod", "purpose", "project", "release", "until", "reason", "review", "organisation", "contact",
    "trained", "name", "title", "lawful_basis", "ethics", "ends", "hash", "text", "sql", "role", "key", "oidc", "on", "theme",
    "back", "password", "again", "label", "credential", "challenge", "passkey", "next", "proof",
)  # fmt: skip
FORMS, QUERIES = (6, 4) if os.environ.get("PODSQL_BIG") else (3, 2)
"""How often each is sent."""
DESTRUCTIVE = ("sign-out", "sign-out-everywhere", "account/password", "officers/{officer}/end")


def test_no_form_makes_it_fail(clinics, browsers):
    fill(clinics)
    anna = browsers("anna")
    clinics.officer("bert")
    dice = random.Random(7)
    for action in ACTIONS:
        if action.method != "POST" or action.path in DESTRUCTIVE:
            continue
        path = action.path.replace("{number:int}", "2").replace("{person}", ANA_KEY)
        path = path.replace("{project}", "sepsis").replace("{result}", "result-1")
        path = path.replace("{officer}", "bert").replace("{grant}", "none").replace("{token}", "x")
        for _ in range(FORMS):
            anna.get("account" if isinstance(action, ForOfficers) else "link/x")
            fields = {name: dice.choice(NONSENSE) for name in dice.sample(FIELDS, 25)}
            fields |= {"person": BEN.identity_public.hex()} if dice.random() < 0.3 else {}
            answer = anna.post(path, follow=False, **{**fields, "csrf": anna.csrf()})
            assert answer.status_code != 500, (action.path, fields)
            assert answer.status_code < 600
            if answer.status_code == 303 and "sign-in" in answer.headers.get("location", ""):
                anna.sign_in("anna")
    for path in pages(clinics):
        assert anna.get(path).status_code == 200, path


def test_no_query_makes_it_fail(clinics, browsers):
    fill(clinics)
    anna = browsers("anna")
    dice = random.Random(7)
    names = (
        "q",
        "state",
        "answer",
        "since",
        "until",
        "format",
        "preset",
        "person",
        "next",
        "again",
        "path",
        "code",
    )
    for action in ACTIONS:
        if action.method != "GET":
            continue
        path = re.sub(r"\{\w+(:int)?\}", "1", action.path)
        for _ in range(QUERIES):
            query = {name: dice.choice(NONSENSE).replace("\x00", "%00") for name in names}
            answer = anna.get(path, follow=False, params=query)
            assert answer.status_code in (200, 303, 400, 401, 403, 404, 503), (path, query)
