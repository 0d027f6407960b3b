"""What is known of engagement without a database: signed tokens, links in HTML and text, and what a machine looks like.

Used by services.dress (what a message carries) and services.visits (what comes back)."""
