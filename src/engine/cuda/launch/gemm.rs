//! The grouped GEMM: many products of different trials and shapes in one launch.
//!
//! All matrices are `f32`, row-major, their leading dimensions multiples of 4 and their addresses of
//! 16 bytes; weights are `inputs x outputs`. The structs here are those of `kernels/step.cuh` and
//! `kernels/gemm_problem.cuh`.

use bytemuck::{Pod, Zeroable};

/// A trial's step at one tick: written by the `begin` kernel, read by all others of the tick.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// Samples of this step; 0 where the trial idles.
    pub rows: u32,
    /// 1 in training, 0 in scoring, where nothing is dropped.
    pub training: u32,
    /// Samples trained on before this step, in all epochs: the position of its dropout draws.
    pub before: u64,
}

/// The dropout of a hidden layer, drawn as the CPU engine draws it: sample `s`, counted over all
/// epochs, and unit `u` take word `s * units.next_multiple_of(16) + u` of the stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Dropout {
    pub seed: u64,
    pub trial: u32,
    /// `Purpose::Dropout(layer).word()`.
    pub purpose: u32,
    /// In [0, 1).
    pub probability: f32,
    /// Of the layer.
    pub units: u32,
}

/// What a product computes, and what `m`, `n` and `k` are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// `C[m][n] = f(A[m][k] B[k][n] + bias)` times dropout: rows, outputs, inputs.
    Forward,
    /// `C[m][n] = A[k][m]^T B[k][n]`: inputs, outputs, rows.
    WeightGradient,
    /// `C[m][n] = A[m][k] B[n][k]^T * f'(z)` times dropout: rows, inputs, outputs.
    InputGradient,
}

/// One product of one trial, as the kernels read it from a table on the device.
///
/// Columns `n` up to the next multiple of 4 of every row of `c` and `z` that is written become zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct GemmProblem {
    /// Device addresses of the matrices.
    pub a: u64,
    pub b: u64,
    pub c: u64,
    /// Forward: address of `n` values to add, with room for the next multiple of 4; or 0.
    pub bias: u64,
    /// Values before the activation, with the shape and leading dimension of `c`: forward writes them
    /// if this is not 0, input gradient reads them (0: the derivative is 1).
    pub z: u64,
    /// Address of the trial's [`Step`], whose rows then take the place of `m` (forward, input
    /// gradient) or `k` (weight gradient); or 0. They never exceed what stands here.
    pub step: u64,
    /// Address of a [`Dropout`]; or 0.
    pub dropout: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    /// Leading dimensions, in floats.
    pub lda: u32,
    pub ldb: u32,
    pub ldc: u32,
    /// 0 none, 1 relu, 2 tanh, 3 sigmoid, 4 gelu.
    pub activation: u32,
    pub pad: u32,
}

/// The work of one block: a tile of a problem's `c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct GemmTile {
    /// Index of the problem in its table.
    pub problem: u32,
    /// The tile's place in `c`, in tiles.
    pub tile_m: u32,
    pub tile_n: u32,
    pub pad: u32,
}
