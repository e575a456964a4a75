"""The families of models that the differential tests compare."""
