"""Random SELECTs over the tables of ``splits``: nested, joined, correlated, with names that collide.

Every answer is determined: LIMIT has a total order, and doubles that were added up (type ``sum``)
are never grouped, ordered or compared for equality.
"""

from dataclasses import dataclass, field

TABLES = {
    "visits": {
        "id": "int", "sex": "str", "age": "int", "w": "dbl", "price": "dec", "d": "date",
        "ts": "ts", "ok": "bool", "code": "str", "big": "int", "small": "int", "f": "dbl",
        "note": "str",
    },
    "labs": {"id": "int", "value": "dbl", "kind": "str"},
    "codes": {"code": "str", "label": "str", "weight": "int"},
}  # fmt: skip
LITERALS = {
    "int": ("0", "1", "2", "30", "NULL", "-1"),
    "dbl": ("0.5::DOUBLE", "1.5::DOUBLE", "'nan'::DOUBLE", "'-0.0'::DOUBLE"),
    "sum": ("2.5::DOUBLE",),
    "dec": ("1.50", "0.00", "-20.25"),
    "str": ("'f'", "'a'", "'aa'", "'hb'", "'x'", "'alpha'", "''"),
    "date": ("DATE '2020-02-10'", "'-infinity'::DATE"),
    "ts": ("TIMESTAMP '2020-05-03 01:05:07'", "'infinity'::TIMESTAMP"),
    "bool": ("true", "false"),
}
KINDS = ("int", "int", "int", "str", "str", "dbl", "dec", "date", "ts", "bool")
NAMES = ("id", "age", "w", "code", "sex", "n", "x", "kind", "value", "label", "weight", "ok", "k")
COMPARED = ("=", "=", "<", ">", "<=", ">=", "<>", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")


@dataclass(kw_only=True)
class Source:
    alias: str
    columns: list
    hidden: bool = False
    merged: set = field(default_factory=set)
    """Names of USING, which a bare name may mean although two sources have them."""


class Writer:
    """``query`` yields SQL and its outputs, as pairs of name and kind."""

    def __init__(self, rng):
        self.rng = rng
        self.ctes = []

    def statement(self):
        """SQL, with ``ordered: `` before it if its order is total."""
        self.ctes, texts = [], []
        for name in self.rng.sample(["labs", "c1", "visits"], k=self.few(0, 0, 0, 0, 1, 1, 2)):
            sql, outs = self.query(self.few(0, 1), [])
            texts.append(f"{name} AS ({sql})")
            self.ctes.append((name, outs))
        sql, outs = self.query(self.few(0, 1, 1, 1, 2), [], whole=True)
        ordered = ""
        sure = [kind != "sum" for _, kind in outs]
        if all(sure) and self.chance(0.3):
            sql, ordered = self.ordered(sql, outs), "ordered: "
        text = f"WITH {', '.join(texts)} {sql}" if texts else sql
        return ordered + text

    def chance(self, share):
        return self.rng.random() < share

    def few(self, *counts):
        return self.rng.choice(counts)

    def pick(self, *ways):
        return self.rng.choice(ways)

    # Queries

    def query(self, depth, levels, *, kinds=None, whole=False):
        ways = [self.plain, self.plain, self.grouped, self.grouped]
        if depth > 0 and not levels:
            ways.append(self.united)
        sql, outs = self.rng.choice(ways)(depth, levels, kinds)
        sure = all(kind != "sum" for _, kind in outs)
        if not whole and not levels and sure and depth > 0 and self.chance(0.1):
            sql = self.ordered(sql, outs) + f" LIMIT {self.few(1, 3, 7)}"
        return sql, outs

    def ordered(self, sql, outs):
        places = list(range(1, len(outs) + 1))
        self.rng.shuffle(places)
        terms = []
        for place in places:
            name = outs[place - 1][0]
            unique = [n for n, _ in outs].count(name) == 1
            term = name if unique and name != "?" and self.chance(0.3) else str(place)
            terms.append(term + self.pick("", " DESC", " NULLS FIRST", " DESC NULLS LAST"))
        if any(word in sql for word in (" UNION ", " EXCEPT ", " INTERSECT ", " LIMIT ")):
            return f"SELECT * FROM ({sql}) AS o ORDER BY {', '.join(map(str, places))}"
        return f"{sql} ORDER BY {', '.join(terms)}"

    def united(self, depth, levels, kinds):
        kinds = kinds or [self.rng.choice(KINDS) for _ in range(self.few(1, 2))]
        one, outs = self.query(depth - 1, levels, kinds=kinds)
        other, _ = self.query(depth - 1, levels, kinds=kinds)
        word = self.pick("UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL")
        arms = [f"(SELECT * FROM ({a}) AS u)" if " ORDER BY " in a else a for a in (one, other)]
        return f"{arms[0]} {word} {arms[1]}", outs

    def plain(self, depth, levels, kinds):
        text, sources = self.sources(depth, levels)
        inner = [sources, *levels]
        items, outs = self.items(kinds, sources, lambda kind: self.value(kind, inner, depth), depth)
        where = self.where(inner, depth)
        distinct = "DISTINCT " if all(k != "sum" for _, k in outs) and self.chance(0.15) else ""
        qualify = ""
        if self.chance(0.06):
            column = self.column("int", [sources]) or "1"
            qualify = f" QUALIFY rank() OVER (ORDER BY {column} DESC) <= 3"
        return f"SELECT {distinct}{', '.join(items)} FROM {text}{where}{qualify}", outs

    def items(self, kinds, sources, value, depth):
        """The select list: stars, bare columns, values under names that collide."""
        items, outs = [], []
        if kinds is None:
            if self.chance(0.3):
                visible = [s for s in sources if not s.hidden]
                one = self.rng.choice(visible)
                if len(visible) == 1 and self.chance(0.5):
                    items, outs = ["*"], list(one.columns)
                else:
                    items, outs = [f"{one.alias}.*"], list(one.columns)
            kinds = [self.rng.choice(KINDS) for _ in range(self.few(1, 2, 3) if not items else 1)]
        for kind in kinds:
            free = [n for n in NAMES if n not in [o for o, _ in outs]] or [f"y{len(outs)}"]
            name = self.rng.choice(free)
            items.append(f"{value(kind)} AS {name}")
            outs.append((name, kind))
        return items, outs

    def where(self, levels, depth):
        terms = [self.predicate(levels, depth) for _ in range(self.few(0, 1, 1, 2))]
        return f" WHERE {' AND '.join(terms)}" if terms else ""

    def grouped(self, depth, levels, kinds):
        text, sources = self.sources(depth, levels)
        here, inner = [sources], [sources, *levels]
        where = self.where(inner, depth)
        keys = []
        for _ in range(self.few(0, 1, 1, 2) if kinds is None else self.few(0, 1)):
            kind = self.rng.choice(KINDS)
            key = self.column(kind, here)
            if key and self.chance(0.25):
                key = self.around(kind, key)
            if key and key not in [k for k, _ in keys]:
                keys.append((key, kind))

        def value(kind):
            fitting = [key for key, k in keys if k == kind]
            if fitting and self.chance(0.5):
                return self.rng.choice(fitting)
            return self.total(kind, inner, depth)

        items, outs, places = [], [], []
        if kinds is None:
            for key, kind in keys:
                bare = self.chance(0.4) and key.isidentifier()
                name = key if bare else f"g{len(outs)}"
                if name not in [o for o, _ in outs]:
                    places.append(len(items) + 1)
                    items.append(key if bare else f"{key} AS {name}")
                    outs.append((name, kind))
            more = [self.pick(*KINDS, "sum") for _ in range(self.few(1, 1, 2))]
        else:
            more = kinds
        extra, named = self.items(more, sources, value, depth)
        taken = [o for o, _ in outs]
        for item, (name, kind) in zip(extra, named, strict=True):
            if name in taken:
                item, name = item.rsplit(" AS ", 1)[0] + f" AS z{len(outs)}", f"z{len(outs)}"
            items.append(item)
            outs.append((name, kind))
        group = ""
        if keys:
            texts = [key for key, _ in keys]
            ways = [", ".join(texts)]
            if len(places) == len(keys):
                ways += [", ".join(map(str, places)), ", ".join(o for o, _ in outs[: len(keys)])]
                ways += ["ALL"]
            if kinds is None and not levels:
                ways += [f"ROLLUP ({', '.join(texts)})", f"GROUPING SETS (({texts[0]}), ())"]
                ways[-1] = ways[-1] if len(texts) == 1 else ways[0]
            group = f" GROUP BY {self.rng.choice(ways)}"
        having = ""
        if self.chance(0.25):
            kind = self.pick("int", "int", "str", "date")
            sub = self.scalar(kind, inner, depth) if self.chance(0.2) else self.literal(kind)
            having = f" HAVING {self.total(kind, inner, 0)} {self.pick('<', '>', '<>')} {sub}"
        elif outs and outs[-1][1] == "int" and self.chance(0.1):
            having = f" HAVING {outs[-1][0]} > 1"
        window = ""
        if keys and self.chance(0.08):
            window = ", rank() OVER (ORDER BY count(*) DESC) AS r_"
            outs.append(("r_", "int"))
            if kinds is not None:
                window, _ = "", outs.pop()
        return f"SELECT {', '.join(items)}{window} FROM {text}{where}{group}{having}", outs

    # FROM

    def sources(self, depth, levels):
        """FROM, and what is in it."""
        text, first = self.source(depth, [])
        found = [first]
        for _ in range(self.few(0, 0, 1, 1, 1, 2) if depth > 0 else self.few(0, 0, 0, 1)):
            piece, one = self.source(depth - 1, [s.alias for s in found])
            kind = self.pick(
                "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN",
                "CROSS JOIN", ",",
            )  # fmt: skip
            if kind in ("CROSS JOIN", ","):
                text += f"{kind if kind == ',' else ' ' + kind} {piece}"
                found.append(one)
                continue
            shared = [
                name
                for name, k in one.columns
                if len(found) == 1
                and (name, k) in first.columns
                and [n for n, _ in first.columns].count(name) == 1
                and [n for n, _ in one.columns].count(name) == 1
                and k != "sum"
            ]
            if shared and self.chance(0.25):
                name = self.rng.choice(shared)
                every = {n for n, _ in one.columns} & {n for n, _ in first.columns}
                if every == {name} and self.chance(0.3):
                    text += f" NATURAL {kind} {piece}"
                else:
                    text += f" {kind} {piece} USING ({name})"
                one.merged = {name}
            else:
                text += f" {kind} {piece} ON {self.link(found, one, depth, kind)}"
            one.hidden = kind in ("SEMI JOIN", "ANTI JOIN")
            found.append(one)
        return text, found

    def link(self, found, one, depth, kind):
        seen = [s for s in found if not s.hidden]
        visible = [[*seen, Source(alias=one.alias, columns=one.columns)]]
        pairs = [
            (f"{a.alias}.{n}", f"{one.alias}.{m}")
            for a in seen
            for n, k in a.columns
            for m, j in one.columns
            if k == j and k not in ("sum", "bool")
        ]
        ids = [p for p in pairs if p[0].endswith(".id") and p[1].endswith(".id")]
        if ids and self.chance(0.5):
            pairs = ids
        terms = [" = ".join(self.rng.choice(pairs))] if pairs else []
        if not terms or self.chance(0.25):
            inner = depth if kind == "JOIN" and self.chance(0.3) else 0
            terms.append(self.predicate(visible, inner))
        return " AND ".join(terms)

    def source(self, depth, taken):
        if depth > 0 and self.chance(0.35):
            sql, outs = self.query(depth - 1, [])
            alias = self.alias(["q", "t", "visits", "labs", "c"], taken)
            return f"({sql}) AS {alias}", Source(alias=alias, columns=outs)
        known = dict(self.ctes)
        name = self.pick("visits", "visits", "visits", "labs", "labs", "codes", *known)
        columns = known[name] if name in known else list(TABLES[name].items())
        if name not in taken and self.chance(0.4):
            return name, Source(alias=name, columns=columns)
        alias = self.alias([name[0], "a", "b", "t", "codes"], taken)
        return f"{name} AS {alias}", Source(alias=alias, columns=columns)

    def alias(self, wanted, taken):
        return self.rng.choice([one for one in (*wanted, "e", "g") if one not in taken])

    # Values

    def column(self, kind, levels):
        """A column of that kind, from the innermost level that has one, mostly."""
        texts = []
        for place, level in enumerate(levels):
            hits = []
            for source in level:
                if source.hidden:
                    continue
                for name, k in source.columns:
                    if k != kind or name == "?":
                        continue
                    if [n for n, _ in source.columns].count(name) > 1:
                        continue
                    if not any(source.alias == s.alias for up in levels[:place] for s in up):
                        hits.append(f"{source.alias}.{name}")
                    if self.is_clear(name, levels, place):
                        hits.append(name)
            texts.append(hits)
        order = [hits for hits in texts if hits]
        if not order:
            return None
        return self.rng.choice(order[-1] if self.chance(0.4) else order[0])

    def is_clear(self, name, levels, place):
        """Whether the bare name means one column of that level."""
        if any(name == n for up in levels[:place] for s in up for n, _ in s.columns):
            return False
        having = [s for s in levels[place] if not s.hidden and name in [n for n, _ in s.columns]]
        return len(having) == 1 or (len(having) == 2 and name in having[1].merged)

    def literal(self, kind):
        return self.rng.choice(LITERALS[kind])

    def value(self, kind, levels, depth):
        column = self.column(kind, levels)
        if column is None or self.chance(0.12):
            return self.literal(kind)
        if depth > 0 and self.chance(0.12):
            return self.around(kind, self.scalar(kind, levels, depth))
        if self.chance(0.12):
            test = self.predicate(levels, depth - 2)
            return f"CASE WHEN {test} THEN {column} ELSE {self.literal(kind)} END"
        return self.around(kind, column) if self.chance(0.3) else column

    def around(self, kind, text):
        ways = {
            "int": (f"coalesce({text}, 0)", f"{text} + 1", f"-{text}", f"abs({text})"),
            "dbl": (f"coalesce({text}, 0)", f"{text} * 2"),
            "str": (f"coalesce({text}, '?')", f"upper({text})", f"{text} || '!'"),
            "dec": (f"coalesce({text}, 0)", f"{text} + 1.5"),
            "bool": (f"NOT {text}", f"coalesce({text}, false)"),
            "date": (f"coalesce({text}, DATE '2020-01-01')",),
        }
        return f"({self.rng.choice(ways.get(kind, (text,)))})"

    def total(self, kind, levels, depth):
        """An aggregate of that kind over the innermost level, and what may stand around it."""
        here = levels[:1]
        if kind == "sum":
            inside = self.column("dbl", here) or self.column("int", here) or "1.5"
            text = f"{self.pick('sum', 'avg')}({inside}::DOUBLE)"
            if self.chance(0.3):
                text = f"avg({self.column('int', here) or '2'})"
        elif kind == "int" and self.chance(0.75):
            inside = self.column(self.pick("int", "int", "str"), here) or "1"
            number = self.column("int", here) or "1"
            test = self.predicate(here, 0)
            text = self.pick(
                "count(*)", f"count({inside})", f"sum({number})", f"count(DISTINCT {inside})",
                f"sum(DISTINCT {number})", f"sum(CASE WHEN {test} THEN {number} ELSE 0 END)",
                f"sum(CASE WHEN {test} THEN 1 ELSE 0 END)",
                f"sum(CASE WHEN {test} THEN {number} ELSE NULL END)",
                f"sum(CASE WHEN {test} THEN {number} END)", f"count_if({test})",
            )  # fmt: skip
        elif kind == "dec" and self.chance(0.5):
            column = self.column("dec", here) or "1.5"
            test = self.predicate(here, 0)
            text = self.pick(
                f"sum({column})",
                f"sum(CASE WHEN {test} THEN {column} ELSE 0 END)",
                f"sum(CASE WHEN {test} THEN {column} ELSE 0.0 END)",
            )
        elif kind == "bool":
            inside = self.predicate(here, 0)
            text = f"{self.pick('bool_and', 'bool_or')}({inside})"
        else:
            text = f"{self.pick('min', 'max')}({self.column(kind, here) or self.literal(kind)})"
        if self.chance(0.12):
            text += f" FILTER (WHERE {self.predicate(here, 0)})"
        if depth > 1 and self.chance(0.06):
            text = f"coalesce({text}, {self.scalar(kind, [[]], depth)})"
        elif kind != "sum" and self.chance(0.15):
            text = self.around(kind, text)
        return text

    def scalar(self, kind, levels, depth):
        """A subquery of one value: an aggregate, or at most one row."""
        text, sources = self.sources(min(depth - 1, 1), levels)
        inner = [sources, *levels]
        if kind not in ("bool",) and self.chance(0.12):
            return f"(SELECT {self.value(kind, inner, 0)} FROM {text} WHERE false)"
        item = self.total(kind, inner, 0)
        terms = []
        if levels[0] and self.chance(0.7):
            terms += self.ties(sources, levels)
        if self.chance(0.4):
            terms.append(self.predicate([sources], depth - 1 if self.chance(0.3) else 0))
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        if self.chance(0.2):
            name = self.rng.choice(NAMES)
            return f"(SELECT {self.pick('*', name)} FROM (SELECT {item} AS {name} FROM {text}{where}) AS s)"
        return f"(SELECT {item} FROM {text}{where})"

    def ties(self, sources, levels):
        """Conditions that look outside, mostly equalities."""
        found = []
        for _ in range(self.few(1, 1, 2)):
            kind = self.pick("int", "int", "str", "bool", "dbl", "date")
            own, outer = self.column(kind, [sources]), self.column(kind, levels)
            clash = outer and self.shadowed(outer, sources)
            if own and outer and not clash:
                if self.chance(0.2):
                    outer = self.around(kind, outer)
                sign = self.pick("=", "=", "=", "=", "<", "IS NOT DISTINCT FROM", "<>")
                pair = [own, outer]
                self.rng.shuffle(pair)
                found.append(f"{pair[0]} {sign} {pair[1]}")
        return found

    def shadowed(self, text, sources):
        if "." in text:
            return text.split(".")[0] in [s.alias for s in sources]
        return text in [n for s in sources for n, _ in s.columns]

    def predicate(self, levels, depth):
        draw = self.rng.random()
        if depth > 0 and draw < 0.3:
            return self.nested(levels, depth)
        if draw < 0.38 and depth >= 0:
            sign = self.pick("AND", "OR", "OR")
            return (
                f"({self.predicate(levels, depth - 2)} {sign} {self.predicate(levels, depth - 2)})"
            )
        if draw < 0.43:
            return f"NOT {self.predicate(levels, depth - 1)}"
        kind = self.rng.choice(KINDS)
        column = self.column(kind, levels)
        if column is None:
            kind = next((k for k in KINDS if self.column(k, levels)), None)
            if kind is None:
                return self.pick("true", "1 = 1")
            column = self.column(kind, levels)
        if kind == "bool":
            return self.pick(column, f"{column} IS NOT TRUE", f"{column} IS NULL")
        if draw < 0.5:
            return f"{column} IS {self.pick('', 'NOT ')}NULL"
        if draw < 0.57:
            one, two = self.literal(kind), self.literal(kind)
            return f"{column} {self.pick('', 'NOT ')}IN ({one}, {two})"
        other = self.column(kind, levels) if self.chance(0.3) else self.literal(kind)
        return f"{column} {self.rng.choice(COMPARED)} {other}"

    def nested(self, levels, depth):
        way = self.pick("exists", "exists", "in", "in", "scalar", "scalar", "groups")
        negated = self.pick("", "", "NOT ")
        if way == "exists":
            text, sources = self.sources(min(depth - 1, 1), levels)
            terms = self.ties(sources, levels) if self.chance(0.85) else []
            if self.chance(0.4):
                terms.append(self.predicate([sources], depth - 1 if self.chance(0.3) else 0))
            where = f" WHERE {' AND '.join(terms)}" if terms else ""
            item = self.pick("*", "1", self.column("int", [sources]) or "1", "NULL")
            return f"{negated}EXISTS (SELECT {item} FROM {text}{where})"
        kind = self.pick("int", "int", "str", "date", "dec", "dbl", "ts", "bool")
        left = self.column(kind, levels) or self.literal(kind)
        if way == "scalar":
            if self.chance(0.2):
                return (
                    f"{left} < {self.scalar('sum', levels, depth)}"
                    if kind == "int"
                    else (f"{self.literal('int')} <= {self.scalar('int', levels, depth)}")
                )
            signs = ("<", ">", "<=", "=") if kind != "bool" else ("=", "IS DISTINCT FROM")
            right = self.scalar(kind, levels, depth)
            if self.chance(0.25):
                right = self.around(kind, right)
            pair = [left, right]
            self.rng.shuffle(pair)
            return f"{pair[0]} {self.rng.choice(signs)} {pair[1]}"
        if way == "in":
            text, sources = self.sources(min(depth - 1, 1), levels)
            item = self.value(kind, [sources], 0)
            terms = self.ties(sources, levels) if self.chance(0.35) else []
            if self.chance(0.5):
                terms.append(self.predicate([sources], 0))
            where = f" WHERE {' AND '.join(terms)}" if terms else ""
            return f"{left} {negated}IN (SELECT {item} FROM {text}{where})"
        text, sources = self.sources(0, levels)
        item = self.column(kind, [sources]) or self.literal(kind)
        where = f" WHERE {self.predicate([sources], 0)}" if self.chance(0.4) else ""
        having = f" HAVING {self.total('int', [sources], 0)} > {self.literal('int')}"
        group = f" GROUP BY {self.pick(item, '1')}" if not item[0].isdigit() else ""
        return f"{left} {negated}IN (SELECT {item} FROM {text}{where}{group}{having})"
