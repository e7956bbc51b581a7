"""MIME as bytes: header blocks, entities and their encodings; knows no CMS."""
