"""Row 4: the data flow of a pod as a picture: who holds what, which way connections open, what travels."""

from html import escape
from typing import Final

from podsql.governance.facts import Facts

_WIDTH: Final = 900
_HEIGHT: Final = 470
_STYLE: Final = (
    "text{font-family:sans-serif;font-size:13px;fill:#1b1b1b}.t{font-size:17px;font-weight:bold}"
    ".n{font-weight:bold}.s{fill:#555}rect{fill:#fff;stroke:#333}.zone{fill:#f3f6f4;stroke-dasharray:6 4}"
    "path{fill:none;stroke:#333;stroke-width:1.6;marker-end:url(#a)}"
)


def flow_svg(facts: Facts) -> str:
    """An SVG document: nothing loaded, no script."""
    relay = facts.network.relay if facts.network else "not joined"
    way = facts.network.way if facts.network else "direct"
    through = "" if way == "direct" else f" through {way}"
    units = sorted({t.privacy_unit for t in facts.tables if t.privacy_unit})
    services = f"{facts.services} policy service(s)" if facts.services else "no policy service"
    parts = [
        _text(20, 30, f"Data flow of pod {facts.pod}", "t"),
        _rect(20, 50, 420, 330, "zone"),
        _text(30, 70, "custodian's network: accepts no connection", "s"),
        _box(
            40,
            90,
            180,
            90,
            "source data",
            [
                f"{len(facts.tables)} tables and views",
                "read only",
                f"units: {', '.join(units) or 'rows'}",
            ],
        ),
        _box(
            40,
            250,
            180,
            110,
            "state and keys",
            ["audit log, ledger", "snapshots", "keys, secret", "one directory, owner only"],
        ),
        _box(
            270,
            90,
            150,
            270,
            "pod",
            [
                "gate: judges first",
                "sandboxed engines",
                "rules on what leaves",
                "signs every result",
                "control: unix socket",
                "owner only",
            ],
        ),
        _box(
            560,
            170,
            150,
            110,
            "relay",
            ["sees sealed frames,", "sizes and times;", "holds no key to them"],
        ),
        _box(750, 60, 130, 90, "analysts", ["statements", "get answers"]),
        _box(
            750,
            180,
            130,
            90,
            "other pods",
            [
                "blinded keys",
                "if allowed" if "psi_count" in facts.policy.joins.kinds else "not allowed here",
            ],
        ),
        _box(750, 300, 130, 90, "policy service", [services, "decisions"]),
        _arrow(220, 135, 270, 135),
        _arrow(270, 305, 220, 305),
        _arrow(420, 225, 560, 225),
        _text(428, 205, "opens outwards,", "s"),
        _text(428, 245, "Noise in CURVE", "s"),
        _arrow(750, 105, 710, 190),
        _arrow(750, 225, 710, 225),
        _arrow(750, 345, 710, 260),
        _text(
            20,
            405,
            f"Arrows between machines show who connects. The pod opens one, to {relay}{through}; nothing connects to it.",
            "",
        ),
        _text(
            20,
            427,
            "In: signed statements. Out: figures, noisy figures or named rows, as policy.toml allows; never the source data.",
            "",
        ),
        _text(20, 449, f"Policy {facts.policy.name}, digest {facts.policy_hash[:32]}…", "s"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(f"Data flow of pod {facts.pod}", quote=True)}">\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#333;stroke:none"/></marker></defs>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def _rect(x: int, y: int, width: int, height: int, kind: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>'


def _box(x: int, y: int, width: int, height: int, name: str, lines: list[str]) -> str:
    said = "".join(_text(x + 10, y + 40 + 17 * at, line, "s") for at, line in enumerate(lines))
    return _rect(x, y, width, height, "") + _text(x + 10, y + 20, name, "n") + said


def _arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}"/>'
