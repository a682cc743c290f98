"""`anima data`: what the model would be taught, for people, for machines and as a page."""
