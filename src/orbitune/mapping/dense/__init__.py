"""Dense maps: cells that share tokens, labelled by a head that is fitted to the scene."""
