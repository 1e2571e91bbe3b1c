"""Tables and pixels: from an image folder to a frozen split and a decoded cache. No torch here."""
