"""Speed, each figure beside its limit measured in the same run; `make bench` prints the table."""
