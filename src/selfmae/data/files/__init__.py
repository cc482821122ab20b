"""Files of images and masks: formats and their voxels, where they lie, and what tells whether a file has changed."""
