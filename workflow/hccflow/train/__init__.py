"""Development cohorts -> a frozen model and its out-of-fold predictions."""
