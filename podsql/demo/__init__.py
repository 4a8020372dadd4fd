"""The demo: a relay, a policy service, three pods and an analyst, all real, on this machine."""

from podsql.demo.running import run_demo

__all__ = ["run_demo"]
