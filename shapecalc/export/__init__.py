"""Networks for others: source of plain torch, ONNX, and torch.export."""
