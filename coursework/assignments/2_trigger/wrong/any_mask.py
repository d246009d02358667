# loses: check-batch-refuses
# Turns whatever mask it is given into a boolean one, without a word.
def poison_batch(x, y, mask, target, size, value, corner):
    if not len(x) == len(y) == len(mask):
        raise ValueError(f"need a label and a mask entry per image; got {len(x)}, {len(y)} and {len(mask)}")
    mask = mask.bool()
    new_x, new_y = x.clone(), y.clone()
    new_x[mask] = stamp(x[mask], size, value, corner)
    new_y[mask] = target
    return new_x, new_y
