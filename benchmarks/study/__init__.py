"""The study: losses and decisions compared on several data sets, with equal tuning."""
