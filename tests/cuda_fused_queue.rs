//! The protocol between the host and a persistent kernel, tried by one that only counts: it takes calls,
//! makes steps, reports, and leaves when its budget is spent or the host says so.

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, gpu};
use warpsweep::engine::cuda::fused::queue::Queue;
use warpsweep::engine::cuda::launch::fused::{
    Fused, FusedCall, FusedClock, FusedLaunch, FusedPlan, FusedReport, check_layouts,
};
use warpsweep::engine::cuda::launch::{Buffer, Mapped, Module};
use warpsweep::engine::cuda::program::{Program, embedded};

/// A trial of `batch` steps an epoch. Each adds the learning rate to the losses of one lane; the last one
/// adds the trial's number to the samples that are wrong.
const COUNTING: &str = r#"
#include "fused_layout.cuh"
extern "C" __global__ void counting(FusedLaunch launch)
{
    __shared__ FusedCall call;
    __shared__ int taken;
    unsigned int spent = 0;
    for (;;) {
        __syncthreads();
        if (threadIdx.x == 0) {
            taken = spent < launch.budget && fused_take(launch, call);
            if (taken) fused_open(launch.plans[call.trial], call, launch.clocks[call.trial]);
        }
        __syncthreads();
        if (!taken) return;
        const FusedPlan &plan = launch.plans[call.trial];
        FusedClock &clock = launch.clocks[call.trial];
        const unsigned int first = clock.first;
        unsigned int step = first;
        for (; step < plan.batch && spent < launch.budget && !fused_stopped(launch); step++, spent++)
            if (threadIdx.x == step % FUSED_LANES) clock.train_loss[threadIdx.x] += clock.learning_rate;
        __syncthreads();
        if (threadIdx.x > 0) continue;
        clock.first = step;
        clock.before += step - first;
        if (step < plan.batch) continue;
        clock.wrong[3] = plan.trial;
        fused_report(launch, call.trial, clock);
    }
}
"#;

/// Counting trials on a device.
struct Counting {
    gpu: Gpu,
    kernel: Fused,
    queue: Queue,
    plans: Buffer<FusedPlan>,
    clocks: Buffer<FusedClock>,
}

fn counting(module: &Module, gpu: Gpu, steps: &[u32]) -> Counting {
    let plan = |(trial, &batch): (usize, &u32)| FusedPlan {
        batch,
        trial: 100 + trial as u32,
        ..FusedPlan::zeroed()
    };
    let plans: Vec<FusedPlan> = steps.iter().enumerate().map(plan).collect();
    Counting {
        kernel: Fused::new(module, "counting", 64, 0).expect("the kernel"),
        queue: Queue::new(&gpu.stream, steps.len()).expect("a queue"),
        plans: Buffer::from_slice(&gpu.stream, &plans).expect("a buffer"),
        clocks: Buffer::zeroed(&gpu.stream, steps.len()).expect("a buffer"),
        gpu,
    }
}

fn module(gpu: &Gpu) -> Module {
    let headers = embedded("begin.cu").expect("a kernel file").headers;
    let program = Program { name: "counting.cu", source: COUNTING, headers };
    gpu.compiler.module(&gpu.device, &program).expect("a module")
}

impl Counting {
    fn launch(&self, blocks: u32, budget: u32) {
        let argument = FusedLaunch {
            plans: self.plans.address(),
            clocks: self.clocks.address(),
            budget,
            ..FusedLaunch::zeroed()
        };
        let argument = self.queue.place(argument);
        self.kernel.launch(&self.gpu.stream, blocks, &argument).expect("a launch");
        self.gpu.stream.synchronize().expect("a launch that ends");
    }
}

fn call(trial: u32, epoch: u32, learning_rate: f32) -> FusedCall {
    FusedCall { trial, epoch, learning_rate, pad: 0 }
}

#[test]
fn host_and_kernels_lay_out_the_same_structs() {
    let Some(gpu) = gpu() else { return };
    check_layouts(&module(&gpu)).expect("the same layouts");
}

#[test]
fn every_call_is_trained_once_by_however_many_blocks() {
    let Some(first) = gpu() else { return };
    let module = module(&first);
    for blocks in [1, 3, 40] {
        let steps = [5, 1, 33, 2, 8];
        let mut all = counting(&module, gpu().expect("still a GPU"), &steps);
        // More rounds than the ring has places.
        for epoch in 1..=4 {
            for trial in 0..5 {
                all.queue.call(call(trial, epoch, 0.5 * epoch as f32));
            }
            all.launch(blocks, 1000);
            for (trial, &steps) in steps.iter().enumerate() {
                let report = all.queue.report(trial, epoch - 1).expect("a report");
                let losses = 0.5 * f64::from(epoch) * f64::from(steps);
                let wrong = 100 + trial as u32;
                let expected =
                    FusedReport { train_loss: losses, validation_loss: 0.0, wrong, epoch };
                assert_eq!(report, expected, "{blocks} blocks");
                assert_eq!(all.queue.report(trial, epoch), None);
            }
        }
        let clocks = all.clocks.download().expect("clocks");
        assert!(clocks.iter().zip(steps).all(|(c, steps)| c.before == 4 * u64::from(steps)));
    }
}

#[test]
fn a_budget_ends_a_launch_and_the_next_one_goes_on() {
    let Some(gpu) = gpu() else { return };
    let module = module(&gpu);
    let mut all = counting(&module, gpu, &[10, 10]);
    let tickets = [0, 1].map(|trial| all.queue.call(call(trial, 1, 1.0)));
    let mut launches = 0;
    while all.queue.report(1, 0).is_none() {
        all.launch(1, 7);
        launches += 1;
        let taken = all.queue.taken().expect("a count");
        for (trial, ticket) in tickets.into_iter().enumerate() {
            if taken.includes(ticket) && all.queue.report(trial, 0).is_none() {
                // Opened already: another learning rate has no effect.
                all.queue.call(call(trial as u32, 1, 9.0));
            }
        }
    }
    // Seven steps of each, then what is left of both.
    assert_eq!(launches, 3);
    let losses = [0, 1].map(|trial| all.queue.report(trial, 0).expect("a report").train_loss);
    assert_eq!(losses, [10.0, 10.0]);
}

#[test]
fn a_stop_leaves_calls_for_later() {
    let Some(gpu) = gpu() else { return };
    let module = module(&gpu);
    let mut all = counting(&module, gpu, &[4, 4]);
    let ticket = all.queue.call(call(1, 1, 2.0));
    all.queue.stop();
    all.launch(2, 100);
    assert!(!all.queue.taken().expect("a count").includes(ticket));
    assert_eq!(all.queue.report(1, 0), None);
    all.queue.go_on();
    all.launch(2, 100);
    assert!(all.queue.taken().expect("a count").includes(ticket));
    assert_eq!(all.queue.report(1, 0).expect("a report").train_loss, 8.0);
    assert_eq!(all.queue.report(0, 0), None);
}

#[test]
fn mapped_memory_is_the_hosts_and_the_devices() {
    let Some(gpu) = gpu() else { return };
    let mapped = Mapped::<FusedReport>::zeroed(&gpu.device, 3).expect("mapped memory");
    let report = FusedReport { train_loss: 0.1, validation_loss: -7.5, wrong: 3, epoch: 9 };
    mapped.write(1, report);
    assert_eq!([0, 1, 2].map(|i| mapped.read(i).epoch), [0, 9, 0]);
    assert_eq!(mapped.read(1), report);
    assert_eq!(mapped.acquire(1, 16), 3);
    mapped.release(1, 20, 10);
    assert_eq!(mapped.read(1), FusedReport { epoch: 10, ..report });
    assert_eq!(mapped.len(), 3);
    assert_ne!(mapped.address(), 0);
}
