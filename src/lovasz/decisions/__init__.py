"""Deciding for the score that is reported: labels of logits by another rule than argmax."""
