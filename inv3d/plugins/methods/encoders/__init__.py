"""What the methods that encode pictures share: options, reading networks, losses of trainings."""
