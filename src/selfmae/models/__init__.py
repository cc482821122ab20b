"""Models: the Vision Transformer, its masked autoencoder and heads, and their weights to and from other tools."""
