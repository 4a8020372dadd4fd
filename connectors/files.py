"""From what a custodian wrote as a path to the files it means. Rule to keep: the list is fixed
here, once; no later reader expands a pattern again.
"""

import difflib
import glob
from pathlib import Path

from podsql.connectors.source import Finding
from podsql.errors import error


def find_files(path: str | Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """A file, a pattern, or a folder (all its files with one of ``suffixes``), sorted."""
    text = str(path)
    given = Path(text)
    if given.is_file():
        return (given.resolve(),)
    if given.is_dir():
        found = [p for p in given.rglob("*") if p.suffix.lower() in suffixes and p.is_file()]
    else:
        found = [Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file()]
    if not found:
        raise error("SOURCE", f"no file {given.name!r}", hint=_nearest(given))
    return tuple(sorted(p.resolve() for p in found))


def check_files(paths: tuple[Path, ...], magic: bytes = b"") -> tuple[Finding, ...]:
    """Readable, not empty, and with the first bytes of their format."""
    findings = []
    for path in paths:
        try:
            with path.open("rb") as file:
                head = file.read(max(1, len(magic)))
        except OSError as fault:
            findings.append(Finding("error", f"{path.name!r}: {_word(fault)}", "check its rights"))
            continue
        if not head:
            findings.append(Finding("error", f"{path.name!r} is empty"))
        elif not head.startswith(magic):
            findings.append(Finding("error", f"{path.name!r} is not of the format it is read as"))
    return tuple(findings)


def _word(fault: OSError) -> str:
    return (fault.strerror or "cannot be opened").lower()


def _nearest(path: Path) -> str:
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "paths start at the folder of pod.toml"
