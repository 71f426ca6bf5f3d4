"""Losses and trainers under the names by which other frameworks build them; one module for each."""
