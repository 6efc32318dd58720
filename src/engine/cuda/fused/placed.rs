//! Trials of a fused kernel in a device's memory, and a launch of them.

use std::sync::Arc;

use super::Variant;
use super::kernel::Kernel;
use super::queue::Queue;
use crate::engine::cuda::data::DeviceData;
use crate::engine::cuda::launch::fused::{
    FusedCall, FusedClock, FusedLaunch, FusedLayer, FusedPlan,
};
use crate::engine::cuda::launch::{Buffer, CudaError, Event, Stream};
use crate::engine::cuda::layout::{Cursor, LayerPlaces, Layout};
use crate::engine::cuda::seat::{Kept, Seat};
use crate::engine::cuda::tables::{activation, initial, order};
use crate::engine::cuda::worker::Worker;
use crate::engine::{Task, Trial};
use crate::error::Result;
use crate::model::{Parameters, Recipe};

/// Trials on a device, with all that a launch of their kernel needs. Before it goes it waits for the launch.
pub struct Placed<'a> {
    pub gpu: &'a Worker,
    kernel: Kernel,
    data: Arc<DeviceData>,
    pub layouts: Vec<Layout>,
    pub queue: Queue,
    state: Buffer<f32>,
    plans: Buffer<FusedPlan>,
    clocks: Buffer<FusedClock>,
    /// The plans point into it.
    _scratch: Buffer<f32>,
    // No buffer is of the stream of the launches: a copy would wait for them.
}

impl<'a> Placed<'a> {
    /// Places trials, with their initial values or with what they have kept.
    pub fn new(
        gpu: &'a Worker,
        task: &Task,
        variant: Variant,
        seats: &[Seat],
    ) -> Result<Self, CudaError> {
        let data = gpu.data(task)?;
        let copies = gpu.stream.device().stream()?;
        let kernel = Kernel::new(gpu.fused(variant)?, &copies, seats.len())?;
        let trials: Vec<Trial> = seats.iter().map(|seat| seat.trial.clone()).collect();
        let (mut states, mut unused) = (Cursor::default(), Cursor::default());
        let samples = data.training_samples();
        let layout = |trial: &Trial| Layout::new(&trial.recipe, samples, &mut states, &mut unused);
        let layouts: Vec<Layout> = trials.iter().map(layout).collect();
        let needs = layouts.iter().map(|layout| variant.scratch(layout.batch));
        let state = Buffer::zeroed(&copies, states.end())?;
        let scratch = Buffer::unset(&copies, needs.clone().sum())?;
        let mut free = 0;
        let mut plans = Vec::with_capacity(trials.len());
        for ((trial, layout), needed) in trials.iter().zip(&layouts).zip(needs) {
            let own = if needed > 0 { scratch.address_of(free) } else { 0 };
            free += needed;
            plans.push(plan(task, trial, layout, state.address(), own));
        }
        let mut placed = Placed {
            gpu,
            kernel,
            data,
            layouts,
            queue: Queue::new(&copies, trials.len())?,
            state,
            plans: Buffer::from_slice(&copies, &plans)?,
            clocks: Buffer::zeroed(&copies, trials.len())?,
            _scratch: scratch,
        };
        placed.draw_initial(&copies, &trials, task.seed)?;
        for (index, seat) in seats.iter().enumerate() {
            if let Some(kept) = &seat.kept {
                placed.restore(index, kept)?;
            }
        }
        Ok(placed)
    }

    fn draw_initial(&self, copies: &Stream, trials: &[Trial], seed: u64) -> Result<(), CudaError> {
        let (tensors, tiles) = initial(trials, &self.layouts, self.state.address(), seed);
        let tensors = Buffer::from_slice(copies, &tensors)?;
        let tiles = Buffer::from_slice(copies, &tiles)?;
        self.gpu.kernels.init.launch(copies, &tensors, &tiles)?;
        // The launches are of another stream.
        copies.synchronize()
    }

    /// Puts a trial where it was after its last epoch.
    fn restore(&mut self, trial: usize, kept: &Kept) -> Result<(), CudaError> {
        let before = kept.epochs as u64 * self.data.training_samples() as u64;
        let finished = kept.epochs as u32;
        let clock = FusedClock { before, finished, ..bytemuck::Zeroable::zeroed() };
        self.clocks.upload(trial, &[clock])?;
        self.state.upload(self.layouts[trial].state.start, &kept.state)
    }

    /// Trials that the device trains at a time.
    pub fn slots(&self) -> u32 {
        self.kernel.slots() as u32
    }

    /// Lets blocks train what is called, `slots` trials at a time, each block for `budget` ticks at most; a block that finds the
    /// queue empty looks for a call `patience` more times. The moment that is given is the launch's end.
    pub fn launch(&mut self, slots: u32, budget: u32, patience: u32) -> Result<Event, CudaError> {
        let argument = self.queue.place(FusedLaunch {
            plans: self.plans.address(),
            clocks: self.clocks.address(),
            data: self.data.table.address(),
            budget,
            patience,
            ..bytemuck::Zeroable::zeroed()
        });
        self.kernel.launch(&self.gpu.stream, slots, &argument)?;
        self.gpu.stream.event()
    }

    /// All that a trial carries from epoch to epoch, as it is while no block trains it.
    pub fn state_of(&self, trial: usize) -> Result<Vec<f32>, CudaError> {
        self.state.download_range(self.layouts[trial].state.clone())
    }

    /// A trial's model after its last epoch: until it is called again no block touches it.
    pub fn parameters(&self, trial: usize) -> Result<Parameters> {
        Ok(self.layouts[trial].parameters(&self.state_of(trial)?))
    }

    /// Lets a trial train an epoch.
    pub fn call(&mut self, trial: usize, epoch: u32, learning_rate: f32) -> super::queue::Ticket {
        self.queue.call(FusedCall { trial: trial as u32, epoch, learning_rate, pad: 0 })
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        self.queue.stop();
        // After an error of the device nothing runs.
        let _ = self.gpu.stream.synchronize();
    }
}

/// The bytes of device memory that a trial needs on this path.
pub fn bytes(recipe: &Recipe, variant: Variant, samples: usize) -> u64 {
    /// Plan, clock, and their share of the rest.
    const FIXED: u64 = 4096;
    let (mut state, mut unused) = (Cursor::default(), Cursor::default());
    let layout = Layout::new(recipe, samples, &mut state, &mut unused);
    4 * (state.end() + variant.scratch(layout.batch)) as u64 + FIXED
}

fn plan(task: &Task, trial: &Trial, layout: &Layout, state: u64, scratch: u64) -> FusedPlan {
    let numbers = &trial.recipe.hyperparameters;
    let hidden = trial.recipe.architecture.hidden.first();
    let (shuffled, shuffle_trial) = order(trial, task.shuffle);
    let mut layers: [FusedLayer; 2] = bytemuck::Zeroable::zeroed();
    for (layer, places) in layers.iter_mut().zip(&layout.layers) {
        *layer = fused_layer(places, state);
    }
    FusedPlan {
        seed: task.seed,
        layers,
        scratch,
        trial: trial.number,
        batch: layout.batch as u32,
        shuffled,
        shuffle_trial,
        nesterov: u32::from(numbers.nesterov),
        momentum: numbers.momentum,
        weight_decay: numbers.weight_decay,
        smoothing: numbers.label_smoothing,
        activation: activation(hidden),
        dropout: hidden.map_or(0.0, |hidden| hidden.dropout),
        pad: [0; 2],
    }
}

fn fused_layer(layer: &LayerPlaces, state: u64) -> FusedLayer {
    let address = |place: usize| state + 4 * place as u64;
    let [weight_velocity, bias_velocity] =
        layer.state.velocities.map_or([0; 2], |places| places.map(address));
    FusedLayer {
        weight: address(layer.state.weight),
        bias: address(layer.state.bias),
        weight_velocity,
        bias_velocity,
        inputs: layer.shape.inputs as u32,
        outputs: layer.shape.outputs as u32,
        stride: layer.stride as u32,
        pad: 0,
    }
}
