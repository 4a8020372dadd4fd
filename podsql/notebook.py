"""``%load_ext podsql``: SQL in the cells of a notebook.

    %podsql federation.toml          # or the name of a variable that holds a connection
    %%podsql --out visits
    SELECT sex, count(*) FROM visits GROUP BY sex

Only this module imports IPython. A running event loop is no hindrance: the driver has a thread of
its own for the network.
"""

import argparse
import shlex
import time
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class

from podsql.driver import Connection, connect
from podsql.shown import SHOWN, Shown, shown


class _Words(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"%%podsql [--out NAME] [--rows N] [FEDERATION]: {message}")


@magics_class
class PodsqlMagics(Magics):
    """``%podsql`` and ``%%podsql``; one connection a notebook, until another is named."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._connection: Connection | None = None

    @line_cell_magic
    def podsql(self, line: str, cell: str | None = None) -> Shown | None:
        """Connect, or run a statement and show its answer."""
        words = _Words(add_help=False, exit_on_error=False)
        words.add_argument("federation", nargs="?")
        words.add_argument("--out")
        words.add_argument("--rows", type=int, default=SHOWN)
        asked = words.parse_args(shlex.split(line))
        if asked.federation:
            self._use(asked.federation)
        if cell is None:
            if not asked.federation:
                self._connected()
            return None
        started = time.perf_counter()
        with self._connected().execute(cell) as cursor:
            answer = shown(cursor, started=started, rows=asked.rows)
        if asked.out:
            self._shell.user_ns[asked.out] = answer
        return answer

    @property
    def _shell(self) -> InteractiveShell:
        assert self.shell is not None
        return self.shell

    def _use(self, named: str) -> None:
        held = self._shell.user_ns.get(named)
        self._connection = held if isinstance(held, Connection) else connect(named)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connect()
        return self._connection


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What ``%load_ext podsql`` calls."""
    shell.register_magics(PodsqlMagics(shell))
