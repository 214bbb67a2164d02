"""Who carries tasks out: threads and processes of this machine, or the workers of a cluster."""
