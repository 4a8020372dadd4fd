"""An explanation as a picture (SVG): pods, what leaves each of them, the merge, the answer.

Left to right, one band a stage; what leaves is coloured by its disclosure class. Rule to keep: no
script, no link, no outside font; every text is escaped, and what is cut short is whole in a tooltip.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args
from xml.sax.saxutils import escape

from podsql.planner.explanation import Explanation, Leaving, StageShown
from podsql.planner.fragment import Disclosure
from podsql.planner.measured import PodRun, Run, end_text, rows_text, size_text, time_text

_MARGIN, _GAP, _LINE = 28, 56, 19
_PODS, _LEAVES, _MERGE, _ANSWER = 200, 352, 264, 212
_X_LEAVES: Final = _MARGIN + _PODS + _GAP
_X_MERGE: Final = _X_LEAVES + _LEAVES + _GAP
_X_ANSWER: Final = _X_MERGE + _MERGE + _GAP
_WIDTH: Final = _X_ANSWER + _ANSWER + _MARGIN
_TOP, _BETWEEN, _POD, _POD_GAP = 64, 28, 44, 10
_MOST_PODS, _MOST_COLUMNS, _MOST_LINES = 6, 9, 5
_CODE, _SMALL, _WORDS = 6.65, 6.0, 7.2
"""Widths that characters of code, small print and labels do not pass, on average."""

_CLASSES: Final[dict[Disclosure, tuple[str, str, str]]] = {
    "noised": ("#6941c6", "#b692f6", "with noise"),
    "additive": ("#175cd3", "#84caff", "counts and sums"),
    "moments": ("#107569", "#5fe9d0", "means and variances"),
    "extreme": ("#b54708", "#fec84b", "a smallest or largest value"),
    "sketch": ("#4d5b0b", "#c9d64d", "a sketch"),
    "distinct": ("#a11069", "#faa7e0", "group keys"),
    "rows": ("#b42318", "#fda29b", "single rows"),
}
"""Colour on a light and on a dark page, and what leaves, in words."""
_PER: Final = {
    "pod": "one row a pod",
    "group": "one row a group",
    "row": "row by row",
    "bin": "counts of bins",
}
_LIGHT: Final = ("#ffffff", "#f7f8fa", "#d0d5dd", "#101828", "#5d6879", "#98a2b3")
_DARK: Final = ("#10141c", "#1a202c", "#364152", "#f2f4f7", "#a3afbf", "#697586")


def draw(shown: Explanation) -> str:
    """The SVG document."""
    page = _Page()
    page.text(_MARGIN, 34, "What leaves each pod", "head", _WIDTH)
    if shown.run is not None:
        page.text(_WIDTH - _MARGIN, 34, end_text(shown.run), "muted end", 560)
    bottom, middles = float(_TOP), list[float]()
    for stage in shown.stages:
        height = _band(page, stage, bottom, shown.run)
        middles.append(bottom + height / 2)
        bottom += height + _BETWEEN
    if not shown.stages:
        page.text(_MARGIN, _TOP + 24, "no pod is asked", "muted", 400)
        bottom += 40
    bottom = max(bottom, _answer(page, shown, middles, bottom) + _BETWEEN)
    bottom = _legend(page, shown, bottom)
    return page.document(bottom + 8)


@dataclass(slots=True)
class _Page:
    """The elements drawn so far."""

    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """A rounded box with its upper left corner at x, y."""
        self.parts.append(
            f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str, room: float) -> None:
        """``text`` with its baseline at y, cut to ``room``; ``kind`` names its classes."""
        size = _CODE if "code" in kind else _SMALL if "small" in kind else _WORDS
        shown = _cut(text, int(room / size))
        whole = "" if shown == text else f"<title>{_escaped(text)}</title>"
        self.parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}">{whole}{_escaped(shown)}</text>'
        )

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """A curve from x, y to the right."""
        half = (x + to_x) / 2
        self.parts.append(
            f'<path class="arrow" marker-end="url(#tip)"'
            f' d="M{x:g} {y:g}C{half:g} {y:g} {half:g} {to_y:g} {to_x - 2:g} {to_y:g}"/>'
        )

    def dot(self, x: float, y: float, disclosure: str) -> None:
        """A mark in the colour of a class."""
        self.parts.append(f'<circle class="f-{disclosure}" cx="{x:g}" cy="{y:g}" r="4.5"/>')

    def document(self, height: float) -> str:
        """Everything drawn, as one SVG."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}"'
            f' width="{_WIDTH}" height="{height:g}" role="img" aria-label="query plan">\n'
            f"<style>{_style()}</style>\n"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>\n'
            f'<rect class="page" width="{_WIDTH}" height="{height:g}"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def _band(page: _Page, stage: StageShown, top: float, run: Run | None) -> float:
    """Pods, what leaves, and the merge of one stage; its height."""
    took = run.stage(stage.name) if run is not None else None
    pods = list(stage.pods[:_MOST_PODS])
    stack = len(pods) + (len(stage.pods) > len(pods)) or 1
    tall_pods = stack * (_POD + _POD_GAP) - _POD_GAP
    columns = stage.leaves[:_MOST_COLUMNS]
    tall_card = 62 + _LINE * (len(columns) + (len(stage.leaves) > len(columns)))
    merge = _wrapped(stage.merge, int((_MERGE - 28) / _CODE)) if stage.merge else []
    tall_merge = 40 + 17 * len(merge) + (24 if took is not None else 0)
    height = max(tall_pods, tall_card, tall_merge)
    middle = top + height / 2

    y = middle - tall_pods / 2
    parts = {part.pod: part for part in took.pods} if took is not None else {}
    for pod in pods:
        _pod(page, pod, parts.get(pod), y)
        page.arrow(_MARGIN + _PODS, y + _POD / 2, _X_LEAVES, middle)
        y += _POD + _POD_GAP
    if len(stage.pods) > len(pods):
        page.text(_MARGIN + 14, y + 26, f"and {len(stage.pods) - len(pods)} more", "muted", _PODS)
    if not pods:
        page.text(_MARGIN, y + 26, "no pod has such rows", "muted", _PODS)

    y = middle - tall_card / 2
    page.box(_X_LEAVES, y, _LEAVES, tall_card)
    page.text(_X_LEAVES + 14, y + 24, stage.name, "label", 120)
    said = _PER[stage.per] if stage.first is None else f"the first {stage.first} rows"
    said = f"{said}, under masks" if stage.masked else said
    page.text(_X_LEAVES + _LEAVES - 14, y + 24, said, "muted end", 200)
    page.text(_X_LEAVES + 14, y + 44, stage.reads, "code muted", _LEAVES - 28)
    _leaving(page, columns, len(stage.leaves) - len(columns), y + 64)
    page.arrow(_X_LEAVES + _LEAVES, middle, _X_MERGE, middle)

    y = middle - tall_merge / 2
    page.box(_X_MERGE, y, _MERGE, tall_merge)
    page.text(_X_MERGE + 14, y + 24, "merge at the analyst", "label", _MERGE)
    for at, line in enumerate(merge):
        page.text(_X_MERGE + 14, y + 46 + 17 * at, line, "code", _MERGE - 20)
    if took is not None:
        said = f"all had answered after {time_text(took.micros)}"
        page.text(_X_MERGE + 14, y + tall_merge - 14, said, "small", _MERGE - 20)
    return height


def _pod(page: _Page, pod: str, part: PodRun | None, y: float) -> None:
    page.box(_MARGIN, y, _PODS, _POD)
    if part is None:
        page.text(_MARGIN + 14, y + 27, pod, "label", _PODS - 28)
        return
    page.text(_MARGIN + 14, y + 19, pod, "label", _PODS - 28)
    said = f"{rows_text(part.rows)} · {size_text(part.bytes)} · {time_text(part.micros)}"
    page.text(_MARGIN + 14, y + 35, said, "small", _PODS - 22)


def _leaving(page: _Page, columns: Sequence[Leaving], more: int, y: float) -> None:
    for column in columns:
        page.dot(_X_LEAVES + 19, y - 4, column.disclosure)
        room = _LEAVES - 58 - 7 * len(column.disclosure)
        page.text(_X_LEAVES + 32, y, column.sql, "code", room)
        edge = _X_LEAVES + _LEAVES - 14
        page.text(edge, y, column.disclosure, f"small end t-{column.disclosure}", 90)
        y += _LINE
    if more:
        page.text(_X_LEAVES + 32, y, f"and {more} more", "muted", 200)


def _answer(page: _Page, shown: Explanation, middles: list[float], bottom: float) -> float:
    """The answer, beside the middle of all bands; where it ends."""
    columns = shown.answer[:_MOST_COLUMNS]
    more = len(shown.answer) - len(columns)
    tall = 44 + _LINE * (len(columns) + (more > 0)) + (_LINE if shown.run is not None else 0)
    middle = (middles[0] + middles[-1]) / 2 if middles else (_TOP + bottom) / 2
    top = max(_TOP, middle - tall / 2)
    page.box(_X_ANSWER, top, _ANSWER, tall)
    page.text(_X_ANSWER + 14, top + 24, "answer", "label", _ANSWER)
    y = top + 46
    for column in columns:
        kind = column.type.split("(")[0]
        page.text(_X_ANSWER + _ANSWER - 14, y, kind, "small end", 90)
        page.text(_X_ANSWER + 14, y, column.name, "code", _ANSWER - 34 - 6.2 * min(len(kind), 14))
        y += _LINE
    if more > 0:
        page.text(_X_ANSWER + 14, y, f"and {more} more", "muted", _ANSWER)
        y += _LINE
    if shown.run is not None:
        said = f"merged in {time_text(shown.run.merge_micros)}"
        page.text(_X_ANSWER + 14, y + 2, said, "small", _ANSWER - 20)
    for from_y in middles:
        page.arrow(_X_MERGE + _MERGE, from_y, _X_ANSWER, top + tall / 2)
    return top + tall


def _legend(page: _Page, shown: Explanation, top: float) -> float:
    """The classes that leave, in words; where it ends."""
    present = {column.disclosure for stage in shown.stages for column in stage.leaves}
    x = float(_MARGIN)
    for disclosure in get_args(Disclosure):
        if disclosure not in present:
            continue
        said = f"{disclosure}: {_CLASSES[disclosure][2]}"
        if x + 17 + len(said) * _WORDS > _WIDTH - _MARGIN:
            x, top = float(_MARGIN), top + 24
        page.dot(x + 5, top - 4, disclosure)
        page.text(x + 17, top, said, "muted", 300)
        x += 17 + len(said) * _WORDS + 20
    return top + 16


def _style() -> str:
    dark = "".join((_colours(_DARK), *(_class(name, pair[1]) for name, pair in _CLASSES.items())))
    light = "".join((_colours(_LIGHT), *(_class(name, pair[0]) for name, pair in _CLASSES.items())))
    return (
        "text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}"
        "text.code{font:11px ui-monospace,'SF Mono',Menlo,'DejaVu Sans Mono',monospace}"
        "text.small{font-size:11px}text.head{font-size:17px;font-weight:600}"
        "text.label{font-weight:600}.end{text-anchor:end}.arrow{fill:none;stroke-width:1.3}"
        f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )


def _colours(theme: tuple[str, ...]) -> str:
    page, box, edge, ink, muted, line = theme
    return (
        f".page{{fill:{page}}}.box{{fill:{box};stroke:{edge}}}text{{fill:{ink}}}"
        f".muted,.small{{fill:{muted}}}.arrow{{stroke:{line}}}.tip{{fill:{line}}}"
    )


def _class(name: str, colour: str) -> str:
    return f".f-{name},text.t-{name}{{fill:{colour}}}"


def _escaped(text: str) -> str:
    """XML text; what XML forbids, or what hides or turns text, is shown as a sign of its own."""
    return escape("".join(char if char.isprintable() else "�" for char in text))


def _wide(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, room: int) -> str:
    if sum(map(_wide, text)) <= room:
        return text
    kept, used = "", 1
    for char in text:
        used += _wide(char)
        if used > room:
            break
        kept += char
    return kept + "…"


def _wrapped(text: str, room: int) -> list[str]:
    """Lines broken at spaces; the last of ``_MOST_LINES`` holds all that is left, to be cut."""
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < _MOST_LINES - 1:
        line = words.pop(0)
        while words and len(line) + 1 + len(words[0]) <= room:
            line += f" {words.pop(0)}"
        lines.append(line)
    return [*lines, " ".join(words)] if words else lines
