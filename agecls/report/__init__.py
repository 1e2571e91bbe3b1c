"""From predictions to metrics with confidence intervals, pictures and an HTML page."""
