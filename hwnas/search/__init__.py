"""Search methods behind one ask/tell interface, and the loop that journals and resumes them."""
