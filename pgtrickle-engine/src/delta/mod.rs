//! Z-set algebra: stages and the delta rule of each operator.
