"""Secure sums: the figures of several pods are added, and none is shown (docs/secure-sums.md).

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017.
"""
