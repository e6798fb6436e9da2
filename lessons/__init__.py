"""A course on processes: small programs to run, watch and change, told with orders."""
