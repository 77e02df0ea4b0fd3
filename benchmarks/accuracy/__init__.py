"""The yardstick: q2-aam beside a forest, a linear model, depth alone and the mean."""
