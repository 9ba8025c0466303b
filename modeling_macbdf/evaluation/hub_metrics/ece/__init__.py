"""The folder of one metric of the `evaluate` library."""
