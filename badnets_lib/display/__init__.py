"""What a reader sees: matplotlib pictures, static tables, notebook controls."""
