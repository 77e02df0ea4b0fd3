"""Members beside the network: their fitting, and how they are mixed."""
