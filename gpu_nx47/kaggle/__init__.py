"""Running on Kaggle without the internet: a data set of wheels and a notebook, ready to be uploaded."""

from gpu_nx47.kaggle.bundle import Bundle, write_bundle

__all__ = ["Bundle", "write_bundle"]
