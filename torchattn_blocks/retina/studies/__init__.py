"""Studies: grids of trainings and their evaluations, which can be stopped and continued."""
