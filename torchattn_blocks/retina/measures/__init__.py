"""Measures of vessel masks: density, length, width, branches, tortuosity, fractal dimension."""
