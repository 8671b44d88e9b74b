"""Intensity: tissue masks, bias fields and their correction."""
