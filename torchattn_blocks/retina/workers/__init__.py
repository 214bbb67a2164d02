"""Workers that carry tasks out: threads and processes of this machine, or workers of a cluster."""
