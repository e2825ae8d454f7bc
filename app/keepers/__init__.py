"""Between session and views: who shows what, and when. Keepers are given the views they need, never the window."""
