"""Files of the public sqllogictest format (``.test``, ``.slt``) as DuckDB extends it.

Expected answers are not read: the oracle is the pooled DuckDB. Rule to keep: what is not
understood skips the file with a reason, it never changes the meaning of what follows.
"""

import re
from dataclasses import dataclass

ENGINE = "duckdb"
MET = frozenset(
    [
        "64bit",
        "allow_unsigned_extensions",
        "no_alternative_verify",
        "no_block_verification",
        "no_extension_autoloading",
        "no_latest_storage",
        "no_vector_verification",
        "noalternativeverify",
        "noforcestorage",
        "skip_reload",
        "vector_size",
    ]
)
"""Requirements of DuckDB's own runner that say nothing about answers, or hold here."""
IGNORED = frozenset({"hash-threshold", "tags", "template", "test-env"})
SIGNED = ("tinyint", "smallint", "integer", "bigint", "hugeint")
UNSIGNED = ("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint")
COLLECTIONS = {
    "<signed>": SIGNED,
    "<unsigned>": UNSIGNED,
    "<integral>": SIGNED + UNSIGNED,
    "<numeric>": (*SIGNED, *UNSIGNED, "float", "double"),
}
MAX_ROUNDS = 200


class Skipped(Exception):
    """Why a file is not run."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One statement: ``expects`` is ``ok``, ``error`` or ``maybe``."""

    line: int
    expects: str
    sql: str


def read(path):
    """The records of a file, loops written out; Skipped with a reason."""
    lines = [line for line in enumerate(path.read_text().splitlines(), 1) if line[1][:1] != "#"]
    return list(_records(lines, {}))


def _records(lines, values):
    place, skipping, skip_next = 0, False, False
    while place < len(lines):
        number, text = lines[place]
        words = _filled(text, values).split()
        place += 1
        if not words:
            continue
        word = words[0]
        if word == "halt":
            return
        if word in ("loop", "foreach"):
            body, place = _body(lines, place)
            if not skipping:
                for more in _rounds(words):
                    yield from _records(body, values | more)
        elif word == "mode":
            skipping = {"skip": True, "unskip": False}.get(words[1], skipping)
        elif word in ("skipif", "onlyif"):
            skip_next = (words[1] == ENGINE) == (word == "skipif")
        elif word in ("statement", "query"):
            sql, place = _statement(lines, place)
            if not (skipping or skip_next):
                expects = words[1] if word == "statement" and len(words) > 1 else "ok"
                yield Record(line=number, expects=expects, sql=_filled(sql, values))
            skip_next = False
        elif word == "require":
            if not skipping and words[1] not in MET:
                raise Skipped(f"require {words[1]}")
        elif word not in IGNORED and not skipping:
            raise Skipped(f"directive {word}")


def _statement(lines, place):
    """The text up to an empty line or the expected answer, and the place after both."""
    text = []
    while place < len(lines) and lines[place][1].strip() and lines[place][1].strip() != "----":
        text.append(lines[place][1])
        place += 1
    while place < len(lines) and lines[place][1].strip():
        place += 1
    return "\n".join(text), place


def _body(lines, place):
    start, depth = place, 1
    while place < len(lines):
        word = lines[place][1].split()[:1]
        depth += (word in (["loop"], ["foreach"])) - (word == ["endloop"])
        place += 1
        if not depth:
            return lines[start : place - 1], place
    raise Skipped("a loop without an end")


def _rounds(words):
    """The values of the loop's variables, round by round."""
    names = words[1].split(",")
    if words[0] == "loop":
        rounds = [[str(i)] for i in range(int(words[2]), int(words[3]))]
    else:
        rounds = []
        for word in words[2:]:
            if word.startswith("<") and word not in COLLECTIONS:
                raise Skipped(f"foreach {word}")
            rounds += [each.split(",") for each in COLLECTIONS.get(word, (word,))]
    if len(rounds) > MAX_ROUNDS:
        raise Skipped(f"a loop of {len(rounds)} rounds")
    return [dict(zip(names, each, strict=False)) for each in rounds]


def _filled(text, values):
    return re.sub(r"\$\{(\w+)\}|\{(\w+)\}", lambda m: values.get(m[1] or m[2], m[0]), text)
