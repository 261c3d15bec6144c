"""Saved runs compared: overlaid curves, significance."""
