"""Every policy document that a pod ever served, by its digest: what the log's digests stand for.

Rule to keep: a file counts only if its content has the digest it is named after.
"""

from pathlib import Path

import msgspec

from podsql.pod.datasets import Place
from podsql.policy.document import Policy, policy_hash
from podsql.relay.keys import replace_file

FOLDER = "policies"


def keep_policy(place: Place, policy: Policy) -> None:
    """Keep a document, once."""
    path = place / FOLDER / f"{policy_hash(policy)}.json"
    if not path.exists():
        replace_file(path, msgspec.json.encode(policy, order="deterministic") + b"\n", mode=0o600)


def past_policies(place: Place) -> dict[str, Policy]:
    """The documents that are kept, by digest; damaged files are left out."""
    found = {}
    for path in sorted((place / FOLDER).glob("*.json")):
        policy = _read(path)
        if policy is not None and policy_hash(policy) == path.stem:
            found[path.stem] = policy
    return found


def _read(path: Path) -> Policy | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Policy)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
