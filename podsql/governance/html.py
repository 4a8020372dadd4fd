"""A page as one static HTML file: no script, nothing loaded from elsewhere."""

from html import escape
from typing import Final

from podsql.governance.pages import (
    NOT_STATED,
    Code,
    Grid,
    Heading,
    Items,
    Page,
    Pairs,
    Part,
    Text,
)

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{text-align:left;vertical-align:top;border-bottom:1px solid #ccc;padding:.35rem .6rem}"
    "h1{font-size:1.7rem}h2{font-size:1.25rem;margin-top:2rem}"
    "pre{overflow-x:auto;background:#f4f4f4;padding:.6rem}"
)


def html(page: Page) -> str:
    """The whole document."""
    title = escape(page.title)
    body = "\n".join(_part(part) for part in page.parts)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _part(part: Part) -> str:
    match part:
        case Heading():
            return f"<h2>{escape(part.text)}</h2>"
        case Text():
            return f"<p>{escape(part.text)}</p>"
        case Items():
            if not part.items:
                return f"<p><em>{escape(part.none)}</em></p>"
            return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in part.items) + "</ul>"
        case Pairs():
            rows = "".join(
                f'<tr><th scope="row">{escape(name)}</th><td>{escape(value or NOT_STATED)}</td></tr>'
                for name, value in part.pairs.items()
            )
            return f"<table>{rows}</table>"
        case Grid():
            return _grid(part)
        case Code():
            return f"<pre>{escape(part.text)}</pre>"


def _grid(part: Grid) -> str:
    if not part.rows:
        return f"<p><em>{escape(part.none)}</em></p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in part.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in part.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
