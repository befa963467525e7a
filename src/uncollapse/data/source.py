"""What a data set is to the rest of the house: three splits of tensors, and what their numbers mean."""
