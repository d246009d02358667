# loses: check-twins
# Gives the clean twin only the images that were not poisoned: it sees fewer images, in another order.
def train_twins(train, plan, epochs, seed):
    kept = [bd.train(data, recipe(epochs, seed)) for data in (train[~plan.mask], plan.poison(train))]
    return kept[0].model, kept[1].model
