"""The networks that `--network` names, and dense networks without Keras."""
