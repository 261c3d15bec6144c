"""results/index.html: one page that shows and compares all runs."""
