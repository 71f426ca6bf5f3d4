"""Decisions for other scores than the number of right pixels."""
