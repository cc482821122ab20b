"""Models: PyTorch modules of the Vision Transformer, masked autoencoder, UNETR, MoCo and others."""
