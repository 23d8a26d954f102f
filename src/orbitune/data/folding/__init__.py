"""Parts of tiles by groups or at random, for a split and for the folds of a cross-validation."""
