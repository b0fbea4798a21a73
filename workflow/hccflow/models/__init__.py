"""Models: what every kind of model shares, and the tabular models; opened without running any code of theirs."""
