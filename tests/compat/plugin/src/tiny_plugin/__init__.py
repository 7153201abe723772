"""A model and a task of a third party, for contract version 1."""
