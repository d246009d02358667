# loses: check-modest, check-other
# Returns the network as it is: the best clean accuracy of all repairs, and the whole backdoor.
def repair(network, clean, mask, pattern):
    return copy.deepcopy(network)
