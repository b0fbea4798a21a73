"""Networks: crops in, logits out. Parts, a registry, the training loop, frozen ensembles; trained inside folds only."""
