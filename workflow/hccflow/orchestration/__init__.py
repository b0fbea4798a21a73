"""How a study stands between Snakemake, which runs, and DVC, which keeps. Both are called as programs only."""
