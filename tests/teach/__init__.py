"""Teaching: networks, gestures, gists."""
