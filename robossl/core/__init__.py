"""What is said: contracts, seeding, files, spaces. Imports nothing of ours."""
