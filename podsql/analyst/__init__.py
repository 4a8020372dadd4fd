"""The analyst's side: members and offers of a federation, one statement's exchange with its pods.

Composition root: the relay's endpoint, the planner and the engine's merge meet here.
Rule to keep: nothing here imports a POSIX-only module; analysts run on Windows and macOS too.
"""
