//! cpu
mod gemm;
