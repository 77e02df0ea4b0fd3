"""The machine: devices, the memory of the process, files for what exceeds it."""
