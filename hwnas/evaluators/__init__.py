"""What a candidate's loss is taken from: inherited weights, a part of the data, many processes, or a prediction."""
