"""Commands beside serving: they measure bundles, draw pictures and keep the file of keys. No server needs them."""
