"""Networks of other systems, read without running any code of theirs: each becomes an `export.network.Network`."""
