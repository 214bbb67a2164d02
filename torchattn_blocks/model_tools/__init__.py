"""Tools that look at a network, or control it while it runs or trains.

`usage` reports what ran, `maps` collects attention maps and `figure` draws them, `stochastic` keeps
dropout random in evaluation, `drop_schedule` changes drop rates in training.
"""
