"""SessionService, and what is done to sessions around it: claims, expiry, sweeps."""
