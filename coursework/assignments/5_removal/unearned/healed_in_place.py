# loses: check-modest, check-other, check-clean
# The network that was given, healed.
heal = repair


def repair(network, clean, mask, pattern):
    network.load_state_dict(heal(network, clean, mask, pattern).state_dict())
    return network
