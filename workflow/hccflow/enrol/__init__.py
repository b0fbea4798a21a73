"""Who is in the study, what happened to them, and who may teach: ``enrol`` per cohort and the study's one split."""
