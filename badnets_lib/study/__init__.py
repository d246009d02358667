"""The book's own studies: sweeps over many cells, the experiments they run, and the committed results."""
