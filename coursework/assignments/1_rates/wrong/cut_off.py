# loses: check-count-poisoned
# Cuts off instead of rounding.
def count_poisoned(n, rate):
    if not 0 < rate <= 1 or int(n * rate) == 0:
        raise ValueError(f"the fraction {rate} cannot be had of {n} images")
    return int(n * rate)
