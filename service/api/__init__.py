"""Wire contracts, one file each: routes and their schemas together."""
