//! The operations around the products: what must not get in their way.

use super::gemm::visit_operation;
use super::gpu_kernels;
use super::{CACHE, Outcome, Suite, Visit, count, skipped, words};
use crate::engine::cpu::operations::{Operation, Sizes};
use crate::error::Result;
use crate::measure::axes::{AxisSpec, Point};
use crate::measure::bench::{Bench, Device};

pub struct Kernels;

impl Suite for Kernels {
    fn name(&self) -> &'static str {
        "kernels"
    }

    fn about(&self) -> &'static str {
        "the operations around the products: gather, activation, softmax and loss, update, init"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        const OPS: &str = "gather,activate,softmax_xent,sgd,init";
        const AXES: &[AxisSpec] = &[
            words(
                "op",
                "which operation",
                &["gather", "activate", "softmax_xent", "sgd", "init"],
                OPS,
                OPS,
            ),
            count("batch", "samples of each trial", [1, 65_536], "16,256", "16"),
            count("units", "outputs: of softmax_xent the classes", [2, 8192], "10,256", "10"),
            count("inputs", "pixels of a sample", [1, 65_536], "784", "64"),
            count("trials", "trials in one launch (GPU)", [1, 65_536], "1", "1"),
            CACHE,
        ];
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        let Device::Cuda(cuda) = &bench.device else {
            return on_processor(bench, point, visit);
        };
        gpu_kernels::measure(bench, cuda, point, visit)
    }
}

fn on_processor(bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
    if point.count("trials") > 1 {
        return skipped("a core trains one trial at a time: there are no groups on the CPU");
    }
    let operation = match point.word("op") {
        "gather" => Operation::Gather,
        "activate" => Operation::Activate,
        "softmax_xent" => Operation::SoftmaxXent,
        "sgd" => return skipped("on the CPU the update is part of the weight gradient: see gemm"),
        _ => return skipped("on the CPU initial values are drawn as an array begins: see train"),
    };
    let (units, classes) = (point.count("units"), 256);
    if operation == Operation::SoftmaxXent && units > classes {
        return skipped("labels are bytes: there are at most 256 classes");
    }
    let sizes =
        Sizes { samples: point.count("batch"), inputs: point.count("inputs"), outputs: units };
    visit_operation(bench, point, operation, sizes, visit)
}
