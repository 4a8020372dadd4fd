"""Where a modeller's jobs are trained: a few at a time, each again and again until it has ended.

A job that waits (a pod is away, the process was killed) is taken up by itself after a growing pause,
from its last round. Rule to keep: whatever becomes of one job, the others go on.
"""

import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from podsql.errors import Error
from podsql.modeller.config import Section
from podsql.modeller.orders import Orders, Work
from podsql.modeller.training import Trainer

log = logging.getLogger("podsql.modeller")

FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 60.0


class Floor:
    """``start`` once, ``close`` once."""

    def __init__(self, orders: Orders, trainer: Trainer, config: Section) -> None:
        self._orders = orders
        self._trainer = trainer
        self._config = config
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}
        """When each job that waits for a turn is taken up (monotonic)."""
        self._pauses: dict[str, float] = {}
        """How long each job paused last."""
        self._running: dict[str, Work] = {}
        self._wanted: set[str] = set()
        """Running jobs that somebody wants to be taken up at once if they come to wait."""
        self._stopped = False
        self._pool = ThreadPoolExecutor(config.jobs, thread_name_prefix="podsql-train")
        self._thread = threading.Thread(target=self._turns, name="podsql-floor", daemon=True)

    def start(self) -> None:
        """Take up whatever has not ended."""
        self._due |= {work.id: 0.0 for work in self._orders.all() if not work.job.over}
        self._thread.start()

    def wake(self, work: Work) -> None:
        """Take a job up as soon as there is room."""
        with self._changed:
            if work.id in self._running:
                self._wanted.add(work.id)
            elif not work.job.over:
                self._due[work.id] = 0.0
            self._changed.notify()

    def close(self) -> None:
        """Stop after what each job has written down; they wait for the next start."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._trainer.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    def _turns(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                works = self._next(time.monotonic())
                if not works:
                    self._changed.wait(self._pause(time.monotonic()))
                for work in works:
                    del self._due[work.id]
                    self._running[work.id] = work
            for work in works:
                self._pool.submit(self._run, work)

    def _next(self, now: float) -> list[Work]:
        """What begins now: the oldest first, as many as there is room for."""
        busy = Counter(work.told.analyst for work in self._running.values())
        found: list[Work] = []
        for work in self._orders.all():
            if self._due.get(work.id, now + 1) > now:
                continue
            if len(self._running) + len(found) >= self._config.jobs:
                break
            if busy[work.told.analyst] < self._config.jobs_per_analyst:
                busy[work.told.analyst] += 1
                found.append(work)
        return found

    def _pause(self, now: float) -> float | None:
        """Until another job is due; one that is due already waits for room, which is told."""
        later = [due for due in self._due.values() if due > now]
        return min(later) - now if later else None

    def _run(self, work: Work) -> None:
        before = work.job.rounds
        try:
            self._trainer.train(work)
        except Error as fault:
            log.info("job %s: %s", work.id, fault.code)
        except Exception:
            log.exception("job %s: a fault of the modeller", work.id)
            self._trainer.fail(work, "INTERNAL: the modeller failed")
        self._ended(work, moved=work.job.rounds > before)

    def _ended(self, work: Work, *, moved: bool) -> None:
        job = work.job
        log.info("job %s: %s after round %d", work.id, job.state, job.rounds)
        with self._changed:
            del self._running[work.id]
            last = self._pauses.pop(work.id, 0.0)
            if not job.over:
                pause = FIRST_PAUSE if moved or not last else min(2 * last, LAST_PAUSE)
                self._pauses[work.id] = pause
                wait = 0.0 if work.id in self._wanted else pause
                self._due[work.id] = time.monotonic() + wait
            self._wanted.discard(work.id)
            self._changed.notify()
