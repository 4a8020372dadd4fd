"""Integer noise for differential privacy: exact samplers, tails, backends."""
