"""Networks, training and runs: everything that needs torch."""
