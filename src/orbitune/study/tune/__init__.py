"""Learning-rate tuning by one rule for every method, on train and validation tiles alone.

1. The rates are those of one lattice, 1 and 3 times powers of ten, for every method: full fine-tuning and
   linear probing as well as adapters. `--tune N` tries the N nearest to the method's default.
2. More than three rates are compared after a third of the epochs, with one seed. The schedule is that of the
   whole run: a trial that goes on equals one that never paused (successive halving, Jamieson and Talwalkar
   2016, arXiv:1502.07943).
3. The best and its two neighbours train all epochs with two seeds, which alone decides. While the best is at
   an end of the rates tried, here or in step 2, the next rate beyond is added, up to `MOST_BEYOND` at each
   end of the first rates. Where that was not enough, results and report say that the best is at the edge.
4. Rates within one standard error of the best are tied (the rule of Breiman et al. 1984, Classification and
   Regression Trees, section 3.4.3), and the middle one of these is chosen; of two middle ones, that nearer
   to the middle of all rates tried.
   The error is that between seeds and, for accuracy and macro-F1, of the choice of validation tiles.

Each method, backbone, split and fold has a search of its own, whose rate all seeds and sweeps there use. The
weight decay is that of the recipe.

The search is a pure function of its trials' results, so one that fails without diverging leaves it without a
choice, and the next session repeats that trial. A search that was interrupted is replayed from the stored
trials and goes on to the same bytes, also with trials in parallel or on several machines.
Optuna's `SuccessiveHalvingPruner` is asynchronous: which trials it stops depends on the order in which they
report (docs/ecosystem.md).
"""
