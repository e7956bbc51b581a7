"""Whose key signed an entity, and what that says of its integrity."""
