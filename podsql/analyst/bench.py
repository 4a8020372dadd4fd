"""What one connection keeps at the analyst: merge connections, temporary tables, models, training jobs."""

from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from podsql.analyst.training.jobs import Jobs
from podsql.analyst.training.shelf import Shelf
from podsql.engine.merge import Merger
from podsql.engine.temporary import Temporary


class Bench:
    """Any thread may use it; a merger belongs to one statement at a time."""

    def __init__(self, models: Path | None = None) -> None:
        """``models``: where they are kept, their jobs beside them; None: in memory."""
        self.temporary = Temporary()
        self.shelf = Shelf(models)
        self.jobs = Jobs(None if models is None else models.with_name("jobs"))
        self._mergers: SimpleQueue[Merger] = SimpleQueue()

    def borrow_merger(self) -> Merger:
        """A kept merge connection; give it back with ``return_merger``."""
        try:
            return self._mergers.get_nowait()
        except Empty:
            return Merger()

    def return_merger(self, merger: Merger) -> None:
        """Keep ``merger`` for the next statement; one that failed is not given back."""
        self._mergers.put(merger)

    def close(self) -> None:
        """Drop the temporary tables and the merge connections that no statement holds."""
        self.temporary.close()
        for merger in self._idle():
            merger.close()

    def _idle(self) -> Iterator[Merger]:
        while True:
            try:
                yield self._mergers.get_nowait()
            except Empty:
                return
