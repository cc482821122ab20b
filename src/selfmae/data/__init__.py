"""Data: from files as people have them to random samples; readers, doctor, splits by patient, preparation, views."""
