"""Templates to HTML: the environment, and how times, keys and foreign texts are written.

Rule to keep: everything is escaped; control and direction characters in other people's names are
shown as escapes, so that no name can change how the line around it reads.
"""

import unicodedata
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from podsql.policy.plain_words import RELEASES, ROLES
from podsql.policy.service.granting import FOREVER
from podsql.relay.keys import fingerprint

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
DAY_MS: Final = 86_400_000


def visible(value: Any) -> Any:
    """Text of others without characters that act on the text around them."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(
        one
        if one.isprintable() or one in "\n\t" or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode()
        for one in value
    )


def moment(ms: int | None) -> Markup | str:
    """A time to the minute, in UTC."""
    if ms is None:
        return ""
    if ms >= FOREVER:
        return "no end"
    time = datetime.fromtimestamp(ms / 1000, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        time.strftime("%Y-%m-%dT%H:%M:%SZ"), time.strftime("%Y-%m-%d %H:%M")
    )


def last_day(ms: int | None) -> Markup | str:
    """The last day before a moment."""
    if ms is None:
        return ""
    if ms >= FOREVER:
        return "no end"
    day = datetime.fromtimestamp((ms - 1) / 1000, UTC).strftime("%Y-%m-%d")
    return Markup('<time datetime="{}">{}</time>').format(day, day)


def day_value(ms: int | None) -> str:
    """The same for a date field."""
    if ms is None or ms >= FOREVER:
        return ""
    return datetime.fromtimestamp((ms - 1) / 1000, UTC).strftime("%Y-%m-%d")


def ago(ms: int, now: int) -> str:
    """How long before ``now``."""
    seconds = max(0, now - ms) // 1000
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {word}{'s' if number > 1 else ''} ago"
    return "just now"


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


@cache
def _mark(name: str) -> str:
    return blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()


def asset(name: str) -> str:
    """Address of a static file that changes with it."""
    return f"/static/{name}?{_mark(name)}"


def environment() -> Environment:
    """The one environment."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    made.filters |= {
        "moment": moment,
        "last_day": last_day,
        "day_value": day_value,
        "size": size,
        "part": lambda text: quote(text, safe=""),
        "key": fingerprint,
        "zip_same": lambda names: [(name, name) for name in names],
    }
    made.globals |= {
        "asset": asset,
        "ago": ago,
        "version": version("podsql"),
        "RELEASES": RELEASES | {"sdc_local": "figures over groups, judged by each pod alone"},
        "ROLES": ROLES,
        "FOREVER": FOREVER,
        "DAY": DAY_MS,
    }
    return made


ENVIRONMENT: Final = environment()


def render(template: str, values: dict[str, Any]) -> str:
    """One page."""
    return ENVIRONMENT.get_template(template).render(values)
