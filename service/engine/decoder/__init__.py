"""One bundle's graphs on one device: opened, checked, and run row by row."""
