"""What the README claims, each with the program that shows it."""
