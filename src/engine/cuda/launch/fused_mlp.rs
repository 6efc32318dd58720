//! `kernels/fused_mlp.cuh`: persistent training of MLPs with one hidden layer, by teams of blocks.

use bytemuck::{Pod, Zeroable};

use super::fused::{FusedLaunch, check_layouts};
use super::module::device_struct;
use super::{Buffer, CudaError, Device, Function, Module, Shape, Stream, arg, launch};

/// Classes that the kernels have room for.
pub const CLASSES: usize = 12;

/// What the kernels are given beside a [`FusedLaunch`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MlpTeams {
    pub arrived: u64,
    pub trials: u64,
    pub parts: u64,
    /// Blocks of a team.
    pub size: u32,
    pub pad: u32,
}

device_struct!(MlpTeams { arrived, trials, parts, size, pad });

/// A shape that a block of the kernels may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MlpShape {
    /// Hidden units of a block.
    pub units: usize,
    /// Samples of a chunk.
    pub samples: usize,
}

/// Bytes of shared memory beside weights and velocities: two stages of 64 pixels as bf16, and what of it the
/// hidden units take more; logits and deltas; the small tensors; and so on, as `MlpMemory` of
/// `kernels/mlp_shape.cuh`.
const fn fixed_bytes(MlpShape { units, samples }: MlpShape) -> usize {
    let (stages, hidden) = (2 * samples * 72 * 2, 4 * (units * (samples + 8) + 16));
    let larger = if stages > hidden { stages } else { hidden };
    let logits = samples * CLASSES * 4 + CLASSES * (samples + 8) * 4;
    let layers = 4 * (units * CLASSES + 8 + CLASSES + units);
    let rows = 6 * samples * 4;
    let tables = size_of::<super::fused::FusedPlan>() + size_of::<super::fused::FusedClock>() + 16;
    larger + logits + layers + rows + tables
}

impl MlpShape {
    /// Every shape that there is a kernel file of.
    pub const ALL: [MlpShape; 6] = [
        MlpShape { units: 16, samples: 16 },
        MlpShape { units: 16, samples: 64 },
        MlpShape { units: 32, samples: 16 },
        MlpShape { units: 32, samples: 64 },
        MlpShape { units: 64, samples: 16 },
        MlpShape { units: 64, samples: 64 },
    ];

    /// The kernel's file.
    pub const fn program(self) -> &'static str {
        match (self.units, self.samples) {
            (..=16, ..=16) => "fused_mlp_16x16.cu",
            (..=16, _) => "fused_mlp_16x64.cu",
            (..=32, ..=16) => "fused_mlp_32x16.cu",
            (..=32, _) => "fused_mlp_32x64.cu",
            (_, ..=16) => "fused_mlp_64x16.cu",
            _ => "fused_mlp_64x64.cu",
        }
    }

    /// The kernel's name there.
    pub fn name(self) -> &'static str {
        self.program().trim_end_matches(".cu")
    }

    /// Threads of a block.
    pub const fn threads(self) -> usize {
        if self.units == 16 { 128 } else { 256 }
    }

    /// Bytes of shared memory that a block needs for a layer of so many inputs.
    pub const fn shared_bytes(self, inputs: usize, momentum: bool) -> usize {
        let weights = inputs.next_multiple_of(16) * self.units * 4;
        let velocities = 4 * (self.units * CLASSES + 8 + CLASSES + self.units);
        let all = fixed_bytes(self).next_multiple_of(16) + weights;
        if momentum { all + weights + velocities.next_multiple_of(16) } else { all }
    }

    /// Floats of scratch memory of a trial's block and chunk, where a batch has several chunks.
    pub const fn spill(self) -> usize {
        self.units * self.samples
    }

    /// What the kernel says of the same.
    fn told(self) -> [u32; 4] {
        let velocities = self.shared_bytes(0, true) - self.shared_bytes(0, false);
        let fixed = self.shared_bytes(0, false);
        [self.threads(), fixed, velocities, 4 * self.spill()].map(|number| number as u32)
    }
}

/// A kernel, for models of one size.
#[derive(Clone, Debug)]
pub struct FusedMlp {
    function: Function,
    shape: MlpShape,
    /// Dynamic shared memory of a block, in bytes.
    shared: u32,
    /// Blocks of a team.
    team: usize,
}

impl FusedMlp {
    /// The kernel of a shape in its module, for models of so many inputs and teams of `team` blocks.
    pub fn new(
        module: &Module,
        shape: MlpShape,
        (inputs, momentum): (usize, bool),
        team: usize,
    ) -> Result<Self, CudaError> {
        check_layouts(module)?;
        module.check_layout::<MlpTeams>()?;
        module
            .check_numbers(&format!("MlpShape_{}x{}", shape.units, shape.samples), &shape.told())?;
        let function = module.function(shape.name())?;
        let shared = shape.shared_bytes(inputs, momentum) as u32;
        function.allow_shared(shared)?;
        Ok(FusedMlp { function, shape, shared, team })
    }

    /// Teams that a GPU holds at a time.
    ///
    /// # Errors
    /// [`CudaError::TeamTooLarge`] where it does not hold one.
    pub fn teams_at_once(&self, device: &Device) -> Result<usize, CudaError> {
        let threads = self.shape.threads() as u32;
        let each = self.function.blocks_per_multiprocessor(threads, self.shared)?;
        match each * device.gpu().multiprocessors / self.team {
            0 => Err(CudaError::TeamTooLarge {
                gpu: device.gpu().ordinal,
                blocks: self.team,
                shared: self.shared as usize,
            }),
            teams => Ok(teams),
        }
    }

    /// Lets all teams, or the first of them, train what was and will be called.
    ///
    /// The launch is over when all blocks have left; until then the tables, the states that the plans
    /// point to, the mapped memory and the teams' must live. There may be no other launch of the teams.
    pub fn launch(
        &self,
        stream: &Stream,
        teams: &mut Teams,
        count: usize,
        argument: &FusedLaunch,
    ) -> Result<(), CudaError> {
        let blocks = count.min(teams.trials.len()) * self.team;
        // Returns when it is done: the launch is of another stream.
        teams.arrived.upload(0, &vec![0; 2 * blocks])?;
        let argument_of_teams = MlpTeams {
            arrived: teams.arrived.address(),
            trials: teams.trials.address(),
            parts: teams.parts.address(),
            size: self.team as u32,
            pad: 0,
        };
        let arguments = [arg(argument), arg(&argument_of_teams)];
        let shape = Shape::line(blocks as u32, self.shape.threads() as u32)
            .with_shared(self.shared)
            .together();
        // SAFETY: two arguments by value, as the kernel takes; the teams' buffers are as large as the grid
        // needs and live as the caller promises, like the tables.
        unsafe { launch(stream, &self.function, shape, &arguments) }
    }
}

/// Where the blocks of teams meet.
#[derive(Debug)]
pub struct Teams {
    arrived: Buffer<u32>,
    trials: Buffer<u32>,
    parts: Buffer<f32>,
}

impl Teams {
    /// Room for so many teams of a kernel, on a stream that is not that of the launches.
    pub fn new(copies: &Stream, kernel: &FusedMlp, teams: usize) -> Result<Self, CudaError> {
        let blocks = teams * kernel.team;
        Ok(Teams {
            arrived: Buffer::zeroed(copies, 2 * blocks)?,
            trials: Buffer::zeroed(copies, teams)?,
            parts: Buffer::zeroed(copies, 2 * blocks * kernel.shape.samples * CLASSES)?,
        })
    }
}
