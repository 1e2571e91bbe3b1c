"""Search for age bins in the confusion matrix of fine ones."""
