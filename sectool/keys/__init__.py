"""Key histories and the certificates to encrypt to; knows neither mail nor CMS."""
