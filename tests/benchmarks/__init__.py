"""`make bench`: each row measures Postroom beside a floor, in the same run. docs/benchmarks.md tells the rest."""
