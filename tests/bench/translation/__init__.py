"""Translation at equal CPU seconds: our entries and the loops of the authors of CycleGAN and CUT."""
