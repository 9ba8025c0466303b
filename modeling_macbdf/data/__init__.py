"""Datasets: records, readers, splits, preprocessing cache, pseudo-fakes and the training loader."""
