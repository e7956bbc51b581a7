"""ASN.1 in BER and DER (X.690): read within bounds, and written. Knows no CMS and no keys."""
