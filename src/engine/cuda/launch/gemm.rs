//! The grouped GEMM: many products of different trials and shapes in one launch.
//!
//! All matrices are `f32`, row-major, their leading dimensions multiples of 4 and their addresses of
//! 16 bytes; weights are `inputs x outputs`. The structs here are those of `kernels/step.cuh` and
//! `kernels/gemm_problem.cuh`.

use bytemuck::{Pod, Zeroable};

use super::module::device_struct;
use super::trial::Rule;
use super::{Buffer, CudaError, Fork, Function, Module, Shape, Stream, arg, launch};
use crate::engine::cuda::tiles::{Precision, Tile};

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
    /// `C[m][n] = A[k][m]^T B[k][n]`, or a step of SGD of `C` by it: inputs, outputs, rows.
    WeightGradient,
    /// `C[m][n] = A[m][k] B[n][k]^T * f'(z)` times dropout: rows, inputs, outputs.
    InputGradient,
}

impl Product {
    /// The name of its kernel in a tile configuration.
    pub fn kernel(self, tile: Tile) -> String {
        let name = match self {
            Product::Forward => "forward",
            Product::WeightGradient => "weight_gradient",
            Product::InputGradient => "input_gradient",
        };
        format!("{name}_{}x{}", tile.m, tile.n)
    }
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
    /// Weight gradient: address of a [`Rule`], by which the product then moves `c`, as a step of SGD
    /// with the product as its gradient; or 0.
    pub rule: u64,
    /// With a rule: the velocities, with the shape and leading dimension of `c`; or 0 without momentum.
    pub velocity: u64,
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

device_struct!(Step { rows, training, before });

device_struct!(Dropout { seed, trial, purpose, probability, units });

device_struct!(GemmProblem {
    a,
    b,
    c,
    bias,
    z,
    rule,
    velocity,
    step,
    dropout,
    m,
    n,
    k,
    lda,
    ldb,
    ldc,
    activation,
    pad
});

device_struct!(GemmTile { problem, tile_m, tile_n, pad });

impl GemmProblem {
    /// Whether the kernels may read it: they move 16 bytes at a time.
    fn is_aligned(&self) -> bool {
        let addresses = [self.a, self.b, self.c, self.z, self.velocity];
        let strides = [self.lda, self.ldb, self.ldc];
        addresses.iter().all(|a| a.is_multiple_of(16))
            && strides.iter().all(|s| s.is_multiple_of(4))
    }
}

/// The kernels of one precision: every product in every tile configuration that the GPU has.
#[derive(Debug)]
pub struct Gemm {
    module: Module,
    /// With the largest tile.
    large: Option<Module>,
}

impl Gemm {
    /// The kernels of a precision for a compute capability; `module` loads a kernel file.
    pub fn new(
        module: impl Fn(&str) -> Result<Module, CudaError>,
        precision: Precision,
        capability: u32,
    ) -> Result<Gemm, CudaError> {
        let load = |name: &str| {
            let module = module(name)?;
            module.check_layout::<Step>()?;
            module.check_layout::<Dropout>()?;
            module.check_layout::<Rule>()?;
            module.check_layout::<GemmProblem>()?;
            module.check_layout::<GemmTile>()?;
            Ok(module)
        };
        let large = precision.large_program(capability).map(load).transpose()?;
        Ok(Gemm { module: load(precision.program())?, large })
    }

    /// The tile configurations that there are.
    pub fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        Tile::ALL.into_iter().filter(|tile| *tile != Tile::LARGEST || self.large.is_some())
    }

    /// The one in which a C of so many rows and columns is computed.
    pub fn tile(&self, m: u32, n: u32) -> Tile {
        Tile::of(m, n, self.large.is_some())
    }

    /// The kernel of a product in a tile configuration, and the shape of a launch of one block.
    pub fn kernel(&self, product: Product, tile: Tile) -> Result<(Function, Shape), CudaError> {
        let name = product.kernel(tile);
        let own = self.large.as_ref().filter(|_| tile == Tile::LARGEST);
        let module = own.unwrap_or(&self.module);
        let function = module.function(&name)?;
        let [threads, shared] = module.constants(&format!("{name}_block"))?;
        function.allow_shared(shared)?;
        Ok((function, Shape::line(1, threads).with_shared(shared)))
    }
}

/// One product of many trials, ready to be launched as often as wanted.
#[derive(Debug)]
pub struct Grouped {
    problems: Buffer<GemmProblem>,
    /// One a tile configuration that occurs.
    launches: Vec<Launch>,
}

#[derive(Debug)]
struct Launch {
    function: Function,
    shape: Shape,
    tiles: Buffer<GemmTile>,
}

impl Grouped {
    /// Uploads the tables of these problems, each in the tile configuration for its shape.
    ///
    /// # Panics
    /// If an address is no multiple of 16 bytes or a leading dimension none of 4 floats.
    pub fn new(
        gemm: &Gemm,
        stream: &Stream,
        product: Product,
        problems: &[GemmProblem],
    ) -> Result<Grouped, CudaError> {
        Self::with_tiles(gemm, stream, product, problems, |p| gemm.tile(p.m, p.n))
    }

    /// As [`Grouped::new`], in tile configurations of the caller's choice.
    pub fn with_tiles(
        gemm: &Gemm,
        stream: &Stream,
        product: Product,
        problems: &[GemmProblem],
        choose: impl Fn(&GemmProblem) -> Tile,
    ) -> Result<Grouped, CudaError> {
        let odd = problems.iter().find(|problem| !problem.is_aligned());
        assert!(odd.is_none(), "a problem of the grouped GEMM is not aligned: {odd:?}");
        let mut launches = Vec::new();
        for tile in Tile::ALL {
            let own = problems.iter().enumerate().filter(|(_, problem)| choose(problem) == tile);
            let tiles: Vec<_> = own.flat_map(|(index, problem)| tile.cut(index, problem)).collect();
            if !tiles.is_empty() {
                let (function, block) = gemm.kernel(product, tile)?;
                let shape = Shape { grid: (tiles.len() as u32, 1, 1), ..block };
                let tiles = Buffer::from_slice(stream, &tiles)?;
                launches.push(Launch { function, shape, tiles });
            }
        }
        Ok(Grouped { problems: Buffer::from_slice(stream, problems)?, launches })
    }

    /// Computes all of them. What their addresses point to must live until the stream has come past.
    pub fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        self.launches.iter().try_for_each(|launch| self.send(launch, stream))
    }

    /// The same, each tile configuration on a branch of its own.
    pub fn launch_beside(&self, fork: &mut Fork<'_>) -> Result<(), CudaError> {
        self.launches.iter().try_for_each(|launch| self.send(launch, fork.branch()?))
    }

    fn send(&self, launched: &Launch, stream: &Stream) -> Result<(), CudaError> {
        let Launch { function, shape, tiles } = launched;
        let addresses = [self.problems.address(), tiles.address()];
        // SAFETY: the kernel takes the addresses of two tables, which live in `self`. Every tile
        // names a problem of the first; what the problems point to is the caller's, by the
        // contract of their type.
        unsafe { launch(stream, function, *shape, &addresses.each_ref().map(arg)) }
    }
}
