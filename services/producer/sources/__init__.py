"""Sources of orders: files in CSV and JSON Lines, standard input, the generator."""
