"""The chat screen: two models, one prompt."""
