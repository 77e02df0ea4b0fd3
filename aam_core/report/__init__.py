"""Pages of results: charts, tables, and one HTML file that needs nothing else."""
