"""How far a training job is, on stderr: a line that changes in a terminal, or JSON lines.

Rule to keep: stdout stays data, and whoever reads a log gets no control characters.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from podsql.cli.terminal import say, visible

if TYPE_CHECKING:
    from podsql.analyst.training.recorded import Line


class Progress(Enum):
    """``auto``: a line if stderr is a terminal, else nothing."""

    AUTO = "auto"
    JSON = "json"
    NONE = "none"


@contextmanager
def shown(form: Progress) -> Iterator[Callable[["Line"], None]]:
    """What to call with each step; who interrupts is told how the job goes on."""
    last: list[Line] = []
    with _show(form) as show:

        def step(line: "Line") -> None:
            last[:] = [line]
            show(line)

        try:
            yield step
        except KeyboardInterrupt:
            if last:
                say(
                    f"the job waits: RESUME JOB '{last[0].job}' goes on after round {last[0].round}"
                )
            raise


@contextmanager
def _show(form: Progress) -> Iterator[Callable[["Line"], None]]:
    if form is Progress.JSON:
        import msgspec

        yield lambda line: print(msgspec.json.encode(line).decode(), file=sys.stderr, flush=True)
    elif form is Progress.AUTO and sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status(Text("")) as status:
            yield lambda line: status.update(Text(visible(in_words(line))))
    else:
        yield lambda line: None


def in_words(line: "Line") -> str:
    """A step as one line of text."""
    if line.event != "round":
        return " ".join(filter(None, (f"{line.model}: {line.event}", line.note)))
    parts = [f"{line.model}: round {line.round}", f"{line.n} rows of {len(line.pods)} pods"]
    if line.objective is not None:
        parts.append(f"objective {line.objective:.8g}")
    if line.change is not None:
        parts.append(f"change {line.change:.1e}")
    if line.seconds is not None:
        parts.append(f"{line.seconds:.2f} s")
    return ", ".join(parts)
