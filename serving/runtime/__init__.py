"""An artifact at work: its manifest, its sessions in ONNX Runtime, arrays in and arrays out."""
