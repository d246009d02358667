# loses: check-modest, check-other, check-clean
# Another network, trained on the digits.
def repair(network, clean, mask, pattern):
    digits, _ = bd.load("mnist5k")
    return bd.train(digits, bd.TrainConfig(epochs=1), model=lambda: bd.SmallCNN(width=8)).model
