"""What a backbone reads: widening of its patch embedding to other bands."""
