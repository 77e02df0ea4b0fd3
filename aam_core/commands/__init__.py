"""What `aam` and the plugin offer, as functions."""
