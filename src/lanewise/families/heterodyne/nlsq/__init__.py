"""Nonlinear least squares of two-time correlations: variable projection, Levenberg–Marquardt, many starts."""
