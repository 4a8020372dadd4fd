"""The command line: ``podsql VERB``; one file a verb, each thin over a function that does the work.

stdout is data, stderr is progress and errors. Rule to keep: importing this package loads nothing
but typer; every verb imports what it needs when it runs.
"""

import sys

from podsql import __version__


def main() -> int:
    """Entry point of the console script; returns the exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"podsql {__version__}\n")
        return 0
    from podsql.cli.app import run  # typer and rich cost more than the version is worth

    return run(sys.argv[1:])
