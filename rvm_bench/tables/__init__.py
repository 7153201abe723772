"""Published numbers, score tables, comparisons and the ledger."""
