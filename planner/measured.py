"""What running a plan took: filled from the pods' signed evidence and the analyst's own clock."""

import msgspec


class PodRun(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's part in a stage. ``micros`` is the pod's own time, as it signed it."""

    pod: str
    rows: int
    bytes: int
    micros: int
    release: str


class StageRun(msgspec.Struct, frozen=True, kw_only=True):
    """``micros``: from the requests to the last pod's answer, as the analyst waited."""

    stage: str
    micros: int
    pods: tuple[PodRun, ...]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A whole statement. ``merge_micros``: the last step, in the analyst's own DuckDB."""

    stages: tuple[StageRun, ...]
    merge_micros: int
    rows: int
    release: str
    withheld: int
    missing: tuple[str, ...]

    def stage(self, name: str) -> StageRun | None:
        """The run of one stage."""
        return next((stage for stage in self.stages if stage.stage == name), None)


def size_text(size: int) -> str:
    """Bytes for people: ``812 B``, ``1.2 kB``."""
    if size < 1000:
        return f"{size} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if size < scale * 1000:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e9:.1f} GB"


def time_text(micros: int) -> str:
    """A time for people: ``420 µs``, ``3.1 ms``, ``2.4 s``."""
    if micros < 1000:
        return f"{micros} µs"
    return f"{micros / 1000:.1f} ms" if micros < 1_000_000 else f"{micros / 1_000_000:.1f} s"


def rows_text(rows: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{rows} row" if rows == 1 else f"{rows} rows"


def end_text(run: Run) -> str:
    """How a statement ended: its rows, its release, what is missing."""
    said = f"{rows_text(run.rows)}, {run.release}"
    if run.withheld:
        groups = "group" if run.withheld == 1 else "groups"
        said += f", at least {run.withheld} {groups} withheld"
    return said + (f", without {', '.join(run.missing)}" if run.missing else "")
