"""kill -9 of the policy service, again and again, while another process grants and revokes."""

import os
import random
import signal
import subprocess
import sys

from memory import service_pid

from podsql.demo.stage import Stage
from podsql.policy.service.database import Database
from podsql.policy.service.granting import all_grants
from podsql.policy.service.history import verify
from podsql.policyd import store_path

KILLS = 20 if os.environ.get("PODSQL_BIG") else 6
WRITER = """
import sys, time
from pathlib import Path
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
orders = Orders(Database(Path(sys.argv[1])), lambda: time.time_ns() // 1_000_000)
while True:
    given = make_grant(analyst=b"a" * 32, now=time.time_ns() // 1_000_000)
    grant = orders.grant(CONSOLE, given, name="ana").grant_id
    print("granted", grant, flush=True)
    if int(grant[0], 16) % 2:
        orders.revoke(CONSOLE, grant)
        print("revoked", grant, flush=True)
"""


def test_no_acknowledged_order_is_lost(tmp_path):
    chance = random.Random(7)
    stage = Stage(home=tmp_path, pods={}, analysts=())
    acknowledged: dict[str, set[str]] = {"granted": set(), "revoked": set()}
    try:
        stage.build()
        path = store_path(stage.access)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None

            def take(count: int) -> None:
                for _ in range(count):
                    act, grant = writer.stdout.readline().split()
                    acknowledged[act].add(grant)

            for _ in range(KILLS):
                take(chance.randrange(1, 40))
                os.kill(service_pid(stage), signal.SIGKILL)
                stage.serve_policy()
            writer.kill()
            for line in writer.stdout:
                if len(line.split()) == 2 and line.endswith("\n"):
                    act, grant = line.split()
                    acknowledged[act].add(grant)
    finally:
        stage.close()
    database = Database(path)
    kept = {one.grant.grant_id: one for one in all_grants(database)}
    assert acknowledged["granted"] <= kept.keys()
    assert all(kept[grant].revoked is not None for grant in acknowledged["revoked"])
    assert len(acknowledged["granted"]) > KILLS
    assert acknowledged["revoked"]
    # At most the act that the writer was killed in was not acknowledged.
    acts = len(acknowledged["granted"]) + len(acknowledged["revoked"])
    assert acts <= verify(database) <= acts + 1
    database.close()
