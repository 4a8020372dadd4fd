"""Every policy document that a pod ever served, by its digest: what the log's digests stand for.

Rule to keep: a file counts only if its content has the digest it is named after.
"""

import msgspec

from podsql.pod.datasets import Place
from podsql.policy.document import Policy, canonical_bytes, canonical_hash, policy_hash
from podsql.relay.keys import replace_file

FOLDER = "policies"


def keep_policy(place: Place, policy: Policy) -> None:
    """Keep a document, once."""
    path = place / FOLDER / f"{policy_hash(policy)}.json"
    if not path.exists():
        replace_file(path, canonical_bytes(policy), mode=0o600)


def past_policies(place: Place) -> dict[str, Policy]:
    """The documents that are kept, by digest; those that are damaged, or of a version with other
    clauses, are left out."""
    found = {}
    for path in sorted((place / FOLDER).glob("*.json")):
        canonical = path.read_bytes()
        if canonical_hash(canonical) != path.stem:
            continue
        try:
            found[path.stem] = msgspec.json.decode(canonical, type=Policy)
        except msgspec.MsgspecError:
            continue  # written by a version that knew other clauses
    return found
