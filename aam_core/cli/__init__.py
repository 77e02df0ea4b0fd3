"""The command line `aam`."""
