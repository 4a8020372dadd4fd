"""What information governance asks of a pod, as artefacts: one a file.

Each file has a struct, a function that makes it of ``Facts`` (and asks nothing else), and a function
``page`` that makes a ``Page`` of it, which ``markdown`` and ``html`` write. The struct itself is the
JSON. Rule to keep: no value of a row, and no literal but inside a statement's text; and nothing here
widens a right: pods enforce ``policy.toml``, never ``governance.toml``.
"""
