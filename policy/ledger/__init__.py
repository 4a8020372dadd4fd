"""The durable privacy ledger: costs, budgets, charges, released answers, quotas, overlaps."""
