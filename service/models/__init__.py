"""Many models in one service: which of them a request goes to, when each is in memory, how one replaces another."""
