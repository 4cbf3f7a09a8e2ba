"""The command line: one file per command group. Parses, calls, prints; holds no logic."""
