"""The modeller: trains detached jobs for its analysts, as an outbound peer of the relay.

Composition root above the analyst's side: a job runs here as it would run at the analyst who ordered it.
"""
