"""What papers say: networks, objectives and the players' update, and nothing of machines or runs."""
