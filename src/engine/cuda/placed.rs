//! Trials placed in a device's memory: their tensors, their tables, and the launches of one tick.

use std::sync::Arc;

use super::data::DeviceData;
use super::launch::gemm::{Dropout, Grouped, Product};
use super::launch::init::InitTensor;
use super::launch::sgd_bias::BiasLayer;
use super::launch::trial::{Clock, Command, Plan, Tile};
use super::launch::{Buffer, CudaError, Pinned};
use super::layout::{Cursor, Layout};
use super::tables::{Bases, Members, Tables};
use super::worker::Worker;
use crate::engine::{ShuffleMode, Trial};
use crate::model::Parameters;

/// Trials on a device, with everything that a tick of them needs.
pub struct Placed<'a> {
    gpu: &'a Worker,
    data: Arc<DeviceData>,
    members: Members,
    state: Buffer<f32>,
    scratch: Buffer<f32>,
    clocks: Buffer<Clock>,
    commands: Buffer<Command>,
    plans: Buffer<Plan>,
    init: (Buffer<InitTensor>, Buffer<Tile>),
    work: Work,
    /// The work's products point into it.
    dropouts: Buffer<Dropout>,
}

/// What a tick launches.
struct Work {
    gather: Buffer<Tile>,
    xent: Buffer<Tile>,
    biases: (Buffer<BiasLayer>, Buffer<Tile>),
    forward: Vec<Grouped>,
    input_gradients: Vec<Grouped>,
    weight_gradients: Grouped,
}

impl Work {
    /// Uploads the tables of the `active` of a group's trials. The products' problems point into `dropouts`.
    fn new(
        gpu: &Worker,
        members: &Members,
        active: &[bool],
        dropouts: &mut Buffer<Dropout>,
    ) -> Result<Self, CudaError> {
        let tables = Tables::new(members, active);
        let stream = &gpu.stream;
        dropouts.upload(0, &tables.dropouts)?;
        let grouped =
            |product, problems: &Vec<_>| Grouped::new(&gpu.kernels.gemm, stream, product, problems);
        let levels = |product, levels: &[Vec<_>]| {
            let levels = levels.iter().map(|problems| grouped(product, problems));
            levels.collect::<Result<Vec<_>, CudaError>>()
        };
        Ok(Work {
            gather: Buffer::from_slice(stream, &tables.gather)?,
            xent: Buffer::from_slice(stream, &tables.xent)?,
            biases: (
                Buffer::from_slice(stream, &tables.biases.0)?,
                Buffer::from_slice(stream, &tables.biases.1)?,
            ),
            forward: levels(Product::Forward, &tables.forward)?,
            input_gradients: levels(Product::InputGradient, &tables.input_gradients)?,
            weight_gradients: grouped(Product::WeightGradient, &tables.weight_gradients)?,
        })
    }
}

impl<'a> Placed<'a> {
    /// Reserves the memory of trials, all zeros, and builds their tables.
    pub fn new(
        gpu: &'a Worker,
        data: Arc<DeviceData>,
        trials: &[Trial],
        seed: u64,
        shuffle: ShuffleMode,
    ) -> Result<Self, CudaError> {
        let (mut state, mut scratch) = (Cursor::default(), Cursor::default());
        let samples = data.training_samples();
        let layout = |t: &Trial| Layout::new(&t.recipe, samples, &mut state, &mut scratch);
        let layouts: Vec<Layout> = trials.iter().map(layout).collect();
        let stream = &gpu.stream;
        let state = Buffer::zeroed(stream, state.end())?;
        let scratch = Buffer::zeroed(stream, scratch.end())?;
        let clocks = Buffer::zeroed(stream, trials.len())?;
        let hidden = layouts.iter().map(|layout| layout.layers.len()).sum();
        let mut dropouts = Buffer::zeroed(stream, hidden)?;
        let bases = Bases {
            state: state.address(),
            scratch: scratch.address(),
            clocks: clocks.address(),
            dropouts: dropouts.address(),
        };
        let members = Members { trials: trials.to_vec(), layouts, bases, seed };
        let (tensors, tiles) = members.initial();
        Ok(Placed {
            work: Work::new(gpu, &members, &vec![true; trials.len()], &mut dropouts)?,
            commands: Buffer::zeroed(stream, trials.len())?,
            plans: Buffer::from_slice(stream, &members.plans(shuffle))?,
            init: (Buffer::from_slice(stream, &tensors)?, Buffer::from_slice(stream, &tiles)?),
            gpu,
            data,
            members,
            state,
            scratch,
            clocks,
            dropouts,
        })
    }

    /// Lets later ticks launch work for the `active` trials alone. Nothing that was launched before may be
    /// under way, nor be launched again. The old tables are freed once the new ones stand.
    pub fn select(&mut self, active: &[bool]) -> Result<(), CudaError> {
        self.work = Work::new(self.gpu, &self.members, active, &mut self.dropouts)?;
        Ok(())
    }

    pub fn layouts(&self) -> &[Layout] {
        &self.members.layouts
    }

    /// Draws all initial values on the device.
    pub fn draw_initial(&mut self) -> Result<(), CudaError> {
        self.gpu.kernels.init.launch(&self.gpu.stream, &self.init.0, &self.init.1)
    }

    /// One step of every trial: the launches of a tick.
    pub fn tick(&self) -> Result<(), CudaError> {
        let (kernels, stream) = (&self.gpu.kernels, &self.gpu.stream);
        kernels.begin.launch(
            stream,
            &self.plans,
            &self.commands,
            &self.clocks,
            &self.data.table,
        )?;
        self.forward()?;
        self.work.input_gradients.iter().try_for_each(|level| self.level(level))?;
        let mut fork = self.gpu.branches.fork(stream)?;
        self.work.weight_gradients.launch_beside(&mut fork)?;
        kernels.sgd_bias.launch(
            fork.branch()?,
            &self.clocks,
            &self.work.biases.0,
            &self.work.biases.1,
        )?;
        fork.join()
    }

    /// The part of a tick that scoring needs too: from the pixels to losses and predictions.
    pub fn forward(&self) -> Result<(), CudaError> {
        let (kernels, stream) = (&self.gpu.kernels, &self.gpu.stream);
        kernels.gather.launch(
            stream,
            &self.plans,
            &self.clocks,
            &self.work.gather,
            &self.data.table,
        )?;
        self.work.forward.iter().try_for_each(|level| self.level(level))?;
        kernels.softmax_xent.launch(
            stream,
            &self.plans,
            &self.clocks,
            &self.work.xent,
            &self.data.table,
        )
    }
}

impl Placed<'_> {
    /// Products that wait for what came before, and what comes after for them.
    fn level(&self, products: &Grouped) -> Result<(), CudaError> {
        let mut fork = self.gpu.branches.fork(&self.gpu.stream)?;
        products.launch_beside(&mut fork)?;
        fork.join()
    }

    /// Tells the trials which epochs they may train.
    pub fn command(&mut self, commands: &Pinned<Command>) -> Result<(), CudaError> {
        self.commands.receive(commands)
    }

    /// Has the clocks copied to the host once all that was launched is done.
    pub fn report(&self, clocks: &mut Pinned<Clock>) -> Result<(), CudaError> {
        self.clocks.send(clocks)
    }

    pub fn set_clock(&mut self, trial: usize, clock: Clock) -> Result<(), CudaError> {
        self.clocks.upload(trial, &[clock])
    }

    /// All that a trial carries from epoch to epoch.
    pub fn state_of(&self, trial: usize) -> Result<Vec<f32>, CudaError> {
        self.state.download_range(self.members.layouts[trial].state.clone())
    }

    pub fn set_state(&mut self, trial: usize, state: &[f32]) -> Result<(), CudaError> {
        self.state.upload(self.members.layouts[trial].state.start, state)
    }

    /// A trial's model as it is now, transposed back and without padding.
    pub fn parameters(&self, trial: usize) -> Result<Parameters, CudaError> {
        Ok(self.members.layouts[trial].parameters(&self.state_of(trial)?))
    }

    /// Gives a trial these weights and biases.
    pub fn set_parameters(&mut self, trial: usize, model: &Parameters) -> Result<(), CudaError> {
        let layout = &self.members.layouts[trial];
        let mut state = vec![0.0; layout.state.len()];
        for (layer, linear) in layout.layers.iter().zip(&model.layers) {
            let weight = &mut state[layer.state.weight - layout.state.start..];
            for (output, row) in linear.weight.chunks(layer.shape.inputs).enumerate() {
                for (input, value) in row.iter().enumerate() {
                    weight[input * layer.stride + output] = *value;
                }
            }
            let bias = &mut state[layer.state.bias - layout.state.start..];
            bias[..layer.shape.outputs].copy_from_slice(&linear.bias);
        }
        self.set_state(trial, &state)
    }

    /// Loss and predicted class of each row of the step that was scored last.
    pub fn scores(&self, trial: usize, rows: usize) -> Result<(Vec<f32>, Vec<u32>), CudaError> {
        let layout = &self.members.layouts[trial];
        let column = |place: usize| self.scratch.download_range(place..place + rows);
        let predicted = column(layout.predicted)?;
        Ok((column(layout.losses)?, predicted.into_iter().map(f32::to_bits).collect()))
    }
}
