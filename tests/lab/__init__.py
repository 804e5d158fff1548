"""A laboratory of made-up machines, to see whole clusters begin, work, break and end."""
