"""A picture about models as SVG: its style, its words, the page around them.

Rule to keep: no script, no link, no outside font; every text is escaped.
"""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

COLOURS: Final = ("#175cd3", "#107569", "#b54708", "#a11069", "#6941c6", "#4d5b0b")
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #101828 }
.page { fill: #ffffff } .muted { fill: #5d6879 } .head { font-weight: 600 }
.frame { fill: none; stroke: #98a2b3 } .even { stroke: #98a2b3; stroke-dasharray: 4 4 }
.curve { fill: none; stroke-width: 1.5 } .pooled { stroke: #101828; stroke-width: 2.5 }
.mark.pooled { fill: #101828 }
@media (prefers-color-scheme: dark) {
  text { fill: #f2f4f7 } .page { fill: #10141c } .muted { fill: #a3afbf }
  .pooled { stroke: #f2f4f7 } .mark.pooled { fill: #f2f4f7 }
}
"""


def page(parts: Sequence[str], width: float, height: float, label: str) -> str:
    """The SVG of ``parts``; sizes in pixels."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}" role="img" aria-label={quoteattr(label)}>\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="page" width="{width:g}" height="{height:g}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str) -> str:
    """Words that begin at a point, in one of the style's classes."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'
