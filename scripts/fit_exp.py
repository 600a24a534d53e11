#!/usr/bin/env python3
"""The polynomial of `src/simd/math.rs`: p in exp(r) - 1 = r + r^2 p(r), |r| <= 0.3485, by the least worst relative
error (Lawson's iteration of weighted least squares). Needs NumPy. Prints the coefficients and the error by degree."""

import numpy as np

R, POINTS = 0.3485, 2000


def fit(degree):
    r = R * np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    exact = np.expm1(r)
    powers = np.stack([r ** (2 + i) for i in range(degree + 1)], axis=1)
    weights, best = np.ones_like(r), None
    for _ in range(200):
        scale = np.sqrt(weights) / np.abs(exact)
        solution = np.linalg.lstsq(powers * scale[:, None], (exact - r) * scale, rcond=None)[0]
        errors = np.abs((r + powers @ solution) / exact - 1)
        if best is None or errors.max() < best[0]:
            best = errors.max(), solution
        weights *= errors / errors.max() + 1e-3
        weights /= weights.mean()
    return best


for degree in (3, 4, 5):
    error, coefficients = fit(degree)
    print(degree, f"{error:.1e}", *(f"{np.float32(c):.7e}" for c in coefficients))
