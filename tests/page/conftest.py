"""Fixtures of the page: worlds that run, and browsers that look at them."""

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from worlds import Browser, World


@pytest.fixture
def worlds(tmp_path):
    """Starts worlds, and ends them."""
    with ExitStack() as stack:

        def start(**files):
            return stack.enter_context(World(tmp_path, files or {"clinics": None}))

        yield start


@pytest.fixture
def world(worlds):
    return worlds()


@pytest.fixture
def browsers(world):
    """Makes browsers, signed in as a new officer if a name is given."""
    made = []

    def make(name="", role="admin", *, federation="clinics", world=world, **more):
        browser = Browser(world, federation)
        made.append(browser)
        if name:
            answer = browser.take_link(world[federation].officer(name, role, **more))
            assert answer.status_code in (200, 404), answer.text
        return browser

    yield make
    for browser in made:
        browser.close()


@pytest.fixture
def clinics(world):
    return world["clinics"]


@pytest.fixture(scope="session")
def issuer():
    """A provider in a process of its own; it says which port it took."""
    tool = Path(sys.executable).parent / "oidc-provider-mock"
    started = subprocess.Popen(
        [tool, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with started:
        port = None
        for line in started.stdout:
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found:
                port = found[1]
                break
        assert port, "the provider did not start"
        yield f"http://127.0.0.1:{port}"
        started.terminate()
        started.stdout.read()
