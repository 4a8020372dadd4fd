"""Whether torch is installed here, asked without loading it."""

from importlib.util import find_spec

from podsql.errors import error


def require_torch() -> None:
    """NOT_SUPPORTED if this pod cannot take the local steps of a network."""
    if find_spec("torch") is None:
        raise error(
            "NOT_SUPPORTED",
            "this pod takes no local steps of networks: it has no torch",
            hint="its custodian installs podsql[train]; or leave the pod out: WITH (pods = …)",
        )
