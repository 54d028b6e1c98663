"""Laws (NumPy) and twins (Numba) of every kernel: two backends with the same names and the same bits."""
