"""Networks that encode pictures: to latents, and to what latents can't say of a volume."""
