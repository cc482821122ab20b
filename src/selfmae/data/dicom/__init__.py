"""DICOM: which files form an image, pixels and masks, problems, and tags that identify a person."""
