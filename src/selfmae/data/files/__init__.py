"""Image and mask files: formats, voxels, axes, and whether a file has changed."""
