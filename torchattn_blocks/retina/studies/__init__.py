"""Studies: grids of trainings and evaluations that you can stop and continue."""
