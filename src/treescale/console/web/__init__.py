"""Pages for people: made here whole, read by any browser, and without scripts."""
