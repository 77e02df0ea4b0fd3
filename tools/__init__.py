"""Programs that make encoders of public references; nothing imports them."""
