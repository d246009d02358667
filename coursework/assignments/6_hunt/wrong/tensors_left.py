# loses: check-entry
# Puts probability and target into the entry as they come, so that json.dumps fails on a tensor.
def entry(probability, target=None, mask=None, pattern=None):
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability must lie in [0, 1]; got {probability}")
    if mask is None:
        return {"probability": probability, "target": None, "mask": None, "pattern": None}
    mask, pattern = ([[round(value, 3) for value in row] for row in part.tolist()] for part in (mask, pattern))
    return {"probability": probability, "target": target, "mask": mask, "pattern": pattern}
