"""Using a trained model: decoding, and the predictor that users hold."""
