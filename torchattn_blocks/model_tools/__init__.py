"""What looks at a network, or steers it while it runs or trains.

`usage` reports what ran, `maps` collects attention maps and `figure` draws them, `stochastic` keeps
dropout random in evaluation, `drop_schedule` moves drop rates in training.
"""
