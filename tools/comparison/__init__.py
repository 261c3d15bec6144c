"""Saved runs compared: overlaid curves, layers and scripts that differ, significance."""
