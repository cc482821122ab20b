"""SelfMAE: does self pre-training with a masked autoencoder help on my medical images?"""

__version__ = "0.2.0.dev0"
