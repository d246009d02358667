"""Where a network or a data set comes from: files without pickle, and lists of hashes that someone signs."""

from .checkpoints import load_model as load_model, save_model as save_model, weights_hash as weights_hash
from .weights import load_weights as load_weights, open_weights as open_weights
