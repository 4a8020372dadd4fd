"""The I/O thread: work posted by threads that outlive it."""

import os
import threading

from podsql.relay.sockets.iothread import IoThread


def test_work_posted_while_the_thread_ends_writes_into_nobodys_descriptor():
    """Descriptors are reused at once, so a late ring would reach another owner."""
    for _ in range(100):
        thread = IoThread(name="ending", idle=lambda: None)
        thread.start()
        failed = []
        go = threading.Event()

        def post(thread=thread, failed=failed, go=go):
            go.wait()
            try:
                for _ in range(50):
                    thread.post(lambda: None)
            except OSError as fault:
                failed.append(fault)

        posters = [threading.Thread(target=post) for _ in range(3)]
        for poster in posters:
            poster.start()
        go.set()
        thread.stop(lambda: None)
        reused = os.open(os.devnull, os.O_RDONLY)
        for poster in posters:
            poster.join()
        os.close(reused)
        assert not failed
