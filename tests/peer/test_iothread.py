"""The I/O thread: work posted by threads that outlive it."""

import os

from podsql.relay.sockets.iothread import IoThread


def test_work_posted_as_the_thread_ends_writes_into_nobodys_descriptor():
    """A poster saw the loop asleep and rings when it has closed: its descriptor is another's by then."""
    thread = IoThread(name="ending", idle=lambda: None)
    thread.start()
    thread.stop(lambda: None)
    reader, writer = os.pipe()  # takes the numbers that were given back
    os.set_blocking(reader, False)
    thread._sleeping = True
    thread.post(lambda: None)
    os.close(writer)
    assert os.read(reader, 8) == b""
    os.close(reader)
