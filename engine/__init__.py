"""The machinery of training and evaluation."""
