"""DICOM: which files are one image, their pixels and masks, what is wrong with them, and what they tell of a person."""
