# loses: check-twins
# Goes on training the clean network on the poisoned data instead of starting both from the same fresh weights.
def train_twins(train, plan, epochs, seed):
    clean = bd.train(train, recipe(epochs, seed))
    return clean.model, bd.train(plan.poison(train), recipe(epochs, seed), model=clean.model).model
