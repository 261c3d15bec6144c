"""What the training scripts share: one module, one job (see each module's first line)."""
