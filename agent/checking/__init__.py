"""What an answer claims, held against what the experts found."""
