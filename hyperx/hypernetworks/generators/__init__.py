"""What writes weights from a code: modules `(code) -> Conditioning`."""
