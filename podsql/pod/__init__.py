"""The pod: a daemon beside the data that gates, runs, releases and records each request.

Composition root: endpoint, gate, workers, audit meet here. Keys live in this process only.
"""
