"""What a run is: its plan, its preparation, its folder."""
