"""Days and moments that a person types."""

from datetime import UTC, datetime

from podsql.errors import error


def moment(text: str | None) -> int | None:
    """Ms since the epoch of ``2026-01-31`` (its first moment) or ``2026-01-31T12:00:00Z``, in UTC."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise error(
            "ARGUMENT", f"{text!r} is no date", hint="2026-01-31, or 2026-01-31T12:00Z"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
